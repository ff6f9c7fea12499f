"""Asking for usage, for hooks that hold a request as method, host, target, headers and body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taximeter.instrument.endpoints import asks_usage
from taximeter.wire.injection import ask_for_usage, is_signed

if TYPE_CHECKING:
    from taximeter.instrument.passage import Asked
    from taximeter.meter.call import Call
    from taximeter.meter.runtime import Meter


def body_that_asks(meter: Meter, call: Call, asked: Asked) -> bytes | None:
    """The body to send so that the answer states its usage; ``None`` to send the application's own."""
    if not asked.body or call.opened.stream is not True or meter.settings.inject_usage != "auto":
        return None
    said = asks_usage(asked.host, asked.target.partition("?")[0])
    body = ask_for_usage(call.opened.route, asked.body, host=asked.host, target=asked.target, declared=said)
    if body is None or is_signed([(_bytes(name), _bytes(value)) for name, value in asked.headers.items()]):
        return None
    return body


def _bytes(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")
