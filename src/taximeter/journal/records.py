"""What the journal's records say: a call was opened, a call was closed."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import msgspec

from taximeter.codec import in_usual_form, pack, pack_event, unpack, unpacker
from taximeter.errors import JournalError
from taximeter.event import CallEvent, Scope
from taximeter.journal.frames import CLOSED, MAX_BYTES, OPENED, PAYLOAD_AT, frame


class OpenCall(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a call when its request leaves, and all that is known when its process dies.

    Attributes:
        id: the id that its event will have.
        started_at: when the request leaves; timezone-aware.
        provider: who is called.
        api: the wire format.
        request_model: what is asked for.
        scope: who it is attributed to.
        stream: whether a stream was asked for; ``None`` when that is not known.
        attempt: 1 for the first try.
    """

    id: str
    started_at: datetime
    provider: str
    api: str
    request_model: str | None = None
    scope: Scope = Scope()
    stream: bool | None = None
    attempt: int = 1

    def unknown(self) -> CallEvent:
        """The event of this call when nobody will ever tell how it ended. The same call always gives the same event."""
        return CallEvent(
            id=self.id,
            started_at=self.started_at,
            provider=self.provider,
            api=self.api,
            outcome="unknown",
            scope=self.scope,
            request_model=self.request_model,
            stream=self.stream,
            attempt=self.attempt,
        )


_opens = unpacker(OpenCall)


def pack_open(call: OpenCall) -> bytes:
    """A call that is open, as bytes."""
    return pack(call)


def unpack_open(data: bytes) -> OpenCall:
    """The call that :func:`pack_open` made these bytes of.

    Raises:
        JournalError: when they are no such record.
    """
    return cast("OpenCall", unpack(data, _opens))


def opened_frame(call: OpenCall) -> bytes:
    """The record that a call was opened, as it stands in the file.

    Raises:
        JournalError: when it is too large to be told from damage.
    """
    return _framed(OPENED, pack_open(call), call.id)


def closed_frame(event: CallEvent) -> bytes:
    """The record of how a call ended, as it stands in the file.

    Raises:
        JournalError: as :func:`opened_frame`.
    """
    return _framed(CLOSED, pack_event(event), event.id)


def is_verbatim(framed: bytes) -> bool:
    """Whether the event in a frame is as it was given: text that UTF-8 cannot hold is mended when it is written."""
    return in_usual_form(framed[PAYLOAD_AT : PAYLOAD_AT + 1])


def _framed(kind: bytes, payload: bytes, call_id: str) -> bytes:
    if len(payload) >= MAX_BYTES:
        msg = f"call {call_id}: a record of {len(payload)} bytes; at most {MAX_BYTES} can be journaled"
        raise JournalError(msg)
    return frame(kind, payload)
