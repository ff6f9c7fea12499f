"""Taximeter: the meter for LLM calls.

The names below are loaded when they are first used: ``import taximeter`` by itself loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taximeter.errors import TaximeterError
    from taximeter.event import CallEvent, Cost, Scope
    from taximeter.meter import CallFacts, make_event
    from taximeter.money import Money
    from taximeter.pricing import PriceBook
    from taximeter.store import Query, Store, open_store
    from taximeter.usage import Usage
    from taximeter.wire import Reader, Reading, Route, recognise

__all__ = [
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
    "Usage",
    "make_event",
    "open_store",
    "recognise",
]

_HOMES = {
    "errors": ("TaximeterError",),
    "event": ("CallEvent", "Cost", "Scope"),
    "meter": ("CallFacts", "make_event"),
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
    value: object = getattr(import_module(f"taximeter.{home}"), name)
    globals()[name] = value
    return value
