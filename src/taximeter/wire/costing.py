"""Putting what a call cost beside its counts, where the provider states them: a member or two, and no other byte.

``cost_usd`` is a member of ours, a string of decimal digits, which no provider's own usage has. It stands last in the
usage object of a whole body, and in that of the event of a stream that states the usage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from taximeter.wire.editing import EventEditor
from taximeter.wire.idle import IdleText

Members = Callable[[], bytes]
"""What to put into the usage object, as JSON members without braces: ``"cost_usd":"0.0012"``; empty: nothing."""


class _Place(NamedTuple):
    """Where a format states its usage.

    Attributes:
        key: the member that holds the counts.
        around: the member of an event that holds that member; ``None`` when it is at the top.
        when: what the event of a stream that is meant has; empty: any that states usage.
    """

    key: bytes
    around: str | None = None
    when: bytes = b""


_USAGE: Final = _Place(b'"usage"')
_STREAMED: Final[Mapping[str, _Place]] = {
    "openai.chat": _USAGE,
    "openai.completions": _USAGE,
    "openai.responses": _Place(b'"usage"', around="response"),
    "openai.images": _USAGE,
    "openai.transcriptions": _USAGE,
    "anthropic.messages": _Place(b'"usage"', when=b'"message_delta"'),
    # every event has counts so far: the one that says why it ended has the last ones
    "gemini.generate": _Place(b'"usageMetadata"', when=b'"finishReason"'),
}
_WHOLE: Final[Mapping[str, bytes]] = {
    **{api: place.key for api, place in _STREAMED.items()},
    "openai.embeddings": b'"usage"',
}


class _Stated(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()
    usageMetadata: msgspec.Raw = msgspec.Raw()  # noqa: N815 - as Gemini calls it
    response: msgspec.Raw = msgspec.Raw()


_decode: Final = msgspec.json.Decoder(_Stated).decode


def states_cost(api: str) -> bool:
    """Whether there is a place for a cost in the answers of this format."""
    return api in _WHOLE


def whole_with_cost(api: str, body: bytes, members: bytes) -> bytes | None:
    """A whole body with members put into its usage; ``None`` where there is no place for them.

    Args:
        api: the wire format.
        body: decoded.
        members: as :data:`Members` gives them.
    """
    key = _WHOLE.get(api)
    return _put(body, _Place(key), members) if key is not None and members else None


class CostAdder(EventEditor):
    """Puts members into the usage that a stream of events states, and changes no other byte.

    Args:
        api: the wire format.
        members: asked for what to put in when the event has come that states the usage.
        content_encoding: of the answer, which is decoded: what is handed on is not encoded.

    Raises:
        KeyError: for a format that has no place for a cost; see :func:`states_cost`.
        WireError: for an encoding that nobody here can undo.
    """

    def __init__(self, api: str, members: Members, content_encoding: str | None = None) -> None:
        super().__init__(content_encoding)
        self._place = _STREAMED[api]
        self.marker = self._place.key
        self._members = members

    def _alone(self, chunk: bytes) -> bytes | None:
        return chunk if self.idle.matches(chunk) else super()._alone(chunk)

    def edit(self, event: bytes) -> bytes:
        """An event, whole, with the members in it where it states the usage."""
        if self._place.when not in event:
            return event
        start, end = event.find(b"{"), event.rfind(b"}") + 1
        data = event[start:end]
        if start < 0:
            return event
        if _stated(data, self._place) is None:
            if event.endswith(b"\n\n"):  # another that differs from it only in its text states nothing either
                self.idle.learn(event, IdleText(b"content", b"obfuscation" if b'"obfuscation"' in event else None))
            return event
        members = self._members()
        edited = _put(data, self._place, members) if members else None
        return event if edited is None else event[:start] + edited + event[end:]


def _put(body: bytes, place: _Place, members: bytes) -> bytes | None:
    value = _stated(body, place)
    if value is None:
        return None
    inside = value.rstrip()[:-1].rstrip()
    spliced = inside + (b"" if inside == b"{" else b",") + members + value[len(inside) :]
    at = len(body)
    while (at := body.rfind(value, 0, at)) >= 0:
        if re.search(re.escape(place.key) + rb"\s*:\s*\Z", body[max(0, at - 64) : at]):
            edited = body[:at] + spliced + body[at + len(value) :]
            if _stated(edited, place) == spliced:  # the same words may stand deeper inside too
                return edited
    return None


def _stated(body: bytes, place: _Place) -> bytes | None:
    """The usage object that is at its place in a body; ``None`` when none is."""
    try:
        found: Any = _decode(body)
        if place.around is not None and bytes(found.response):
            found = _decode(found.response)
    except (msgspec.DecodeError, RecursionError):
        return None
    value = bytes(found.usageMetadata if place.key == b'"usageMetadata"' else found.usage)
    return value if value.startswith(b"{") else None
