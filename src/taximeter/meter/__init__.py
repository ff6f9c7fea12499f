"""The only join of wire, pricing, journal and store: the life of one call. See ``README.md``."""

from taximeter.meter.call import Call, Opened
from taximeter.meter.listeners import CostReport, FirstToken, MeterFailure
from taximeter.meter.making import CallFacts, make_event, outcome_of
from taximeter.meter.runtime import Meter, configure, drain, flush, on, the_meter, totals
from taximeter.meter.scope import Session, Tally, Turn, carry, scope, session, turn
from taximeter.meter.settings import Settings

__all__ = [
    "Call",
    "CallFacts",
    "CostReport",
    "FirstToken",
    "Meter",
    "MeterFailure",
    "Opened",
    "Session",
    "Settings",
    "Tally",
    "Turn",
    "carry",
    "configure",
    "drain",
    "flush",
    "make_event",
    "on",
    "outcome_of",
    "scope",
    "session",
    "the_meter",
    "totals",
    "turn",
]
