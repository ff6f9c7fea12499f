"""The only join of wire, pricing, journal and store: the life of one call. See ``README.md``."""

from taximeter.meter.making import CallFacts, make_event, outcome_of

__all__ = ["CallFacts", "make_event", "outcome_of"]
