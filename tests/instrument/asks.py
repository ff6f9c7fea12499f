"""Calls to ask a simulated provider, and what to compare of its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from taximeter.event import CallEvent
from taximeter.simulator.books import Served

WHOLE = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello you"}]}
STREAM = WHOLE | {"stream": True}
ASKING = STREAM | {"stream_options": {"include_usage": True}}

JSON = {"content-type": "application/json"}


def packed(body: dict[str, Any]) -> bytes:
    """A body as it is sent."""
    return json.dumps(body).encode()


def simulate(knobs: str) -> dict[str, str]:
    """The headers of a call that asks the simulator for these knobs."""
    return JSON | ({"x-simulate": knobs} if knobs else {})


def agree(event: CallEvent, served: Served) -> bool:
    """Whether an event states what the provider says that it stated."""
    stated = None if served.usage is None else dict(served.usage)
    counted = None if event.usage is None else {unit: event.usage.get(unit) for unit in stated or ()}
    return counted == stated and event.status == served.status and event.api == served.api


def steady(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers without those that change from call to call."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in {"date", "x-request-id"}]


def error_of(do: Callable[[], object]) -> tuple[type[BaseException], str]:
    """What something raises, as an application can compare it; an address in memory is none of it."""
    try:
        do()
    except Exception as error:  # noqa: BLE001 - whatever a library raises
        return type(error), str(error).partition(" at 0x")[0].partition("(host=")[0]
    msg = "nothing was raised"
    raise AssertionError(msg)
