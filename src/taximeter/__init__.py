"""Taximeter: the meter for LLM calls.

The names below are loaded when they are first used: ``import taximeter`` by itself loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taximeter.errors import TaximeterError
    from taximeter.event import CallEvent, Cost, Scope
    from taximeter.instrument import AsyncTransport, Transport, endpoint, instrument, uninstrument
    from taximeter.instrument.tools import tool
    from taximeter.instrument.track import record, track
    from taximeter.meter import CallFacts, carry, configure, drain, flush, make_event, on, scope, session, totals, turn
    from taximeter.money import Money
    from taximeter.pricing import PriceBook
    from taximeter.store import Query, Store, open_store
    from taximeter.usage import Usage
    from taximeter.wire import Reader, Reading, Route, recognise

__all__ = [
    "AsyncTransport",
    "CallEvent",
    "CallFacts",
    "Cost",
    "Money",
    "PriceBook",
    "Query",
    "Reader",
    "Reading",
    "Route",
    "Scope",
    "Store",
    "TaximeterError",
    "Transport",
    "Usage",
    "carry",
    "configure",
    "drain",
    "endpoint",
    "flush",
    "instrument",
    "make_event",
    "on",
    "open_store",
    "recognise",
    "record",
    "scope",
    "session",
    "tool",
    "totals",
    "track",
    "turn",
    "uninstrument",
]

_HOMES = {
    "errors": ("TaximeterError",),
    "event": ("CallEvent", "Cost", "Scope"),
    "instrument": ("AsyncTransport", "Transport", "endpoint", "instrument", "uninstrument"),
    "instrument.tools": ("tool",),
    "instrument.track": ("record", "track"),
    "meter": (
        "CallFacts",
        "carry",
        "configure",
        "drain",
        "flush",
        "make_event",
        "on",
        "scope",
        "session",
        "totals",
        "turn",
    ),
    "money": ("Money",),
    "pricing": ("PriceBook",),
    "store": ("Query", "Store", "open_store"),
    "usage": ("Usage",),
    "wire": ("Reader", "Reading", "Route", "recognise"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        msg = f"module 'taximeter' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = import_module(f"taximeter.{home}")
    if name != home:  # the package ``instrument`` is what is called by that name
        value = getattr(value, name)
    globals()[name] = value
    return value
