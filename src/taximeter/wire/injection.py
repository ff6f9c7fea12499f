"""Asking for usage where the application did not, and taking out of the answer what only this put there.

A stream of Chat Completions states its usage only when ``stream_options.include_usage`` is set
(https://platform.openai.com/docs/api-reference/chat/create, read 2026-11). Set, it adds one event without choices that
holds the usage, and a member ``"usage":null`` to every other event. :func:`ask_for_usage` sets it in a request, and
:class:`UsageRemover` undoes in the answer what it adds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from taximeter.wire.editing import EventEditor
from taximeter.wire.format import Route
from taximeter.wire.idle import IdleText

# ---- the request

_ASKED: Final = b'"stream_options":{"include_usage":true}'
_MEMBER: Final = re.compile(rb'"stream_options"\s*:\s*')

_AZURE_SINCE: Final = "2024-09"
_DATED: Final = re.compile(r"\d{4}-\d{2}")

_SIGNED: Final = frozenset(
    {
        b"content-digest",
        b"content-md5",
        b"digest",
        b"signature",
        b"x-amz-content-sha256",
        b"x-amz-date",
        b"x-goog-content-sha256",
    }
)
_SIGNATURES: Final = (b"aws4-", b"signature ", b"goog4-", b"hmac ", b"acs3-")


class _Needs(msgspec.Struct, frozen=True):
    """A provider that states the usage of a stream only when it is asked to, and can be asked.

    Attributes:
        places: where it takes ``stream_options``: its own hosts (a gateway that mounts it may refuse) and the paths
            there, searched in ``host/path``; ``None`` for software that anybody runs anywhere.
    """

    places: re.Pattern[str] | None


_ASKS: Final[Mapping[str, _Needs]] = {
    # platform.openai.com/docs/api-reference/chat/create and …/completions/create (read 2026-11)
    "openai": _Needs(re.compile(r"^(?:[a-z]+\.)?api\.openai\.com(?::\d+)?/v1/(?:chat/)?completions/?$")),
    # learn.microsoft.com/azure/ai-services/openai/reference (read 2026-11)
    "azure": _Needs(
        re.compile(
            r"^[^/]+\.(?:openai|services\.ai|cognitiveservices)\.azure\.com(?::\d+)?/openai/.*/?chat/completions/?$"
        )
    ),
    # docs.ollama.com/api/openai-compatibility lists stream_options.include_usage (read 2026-11)
    "ollama": _Needs(re.compile(r"^(?:[^/]+:11434|ollama\.com)/v1/chat/completions/?$")),
    # docs.vllm.ai/en/latest/serving/openai_compatible_server.html (read 2026-11)
    "vllm": _Needs(None),
}
_APIS: Final = frozenset({"openai.chat", "openai.completions"})


def needs_asking(provider: str) -> bool:
    """Whether the provider is known to state the usage of a stream only when asked."""
    return provider in _ASKS


def can_ask(route: Route, host: str, target: str, *, declared: bool | None = None) -> bool:
    """Whether a stream from this place is to be asked for its usage.

    Args:
        route: how the call is read.
        host: with or without port.
        target: the path, with the query.
        declared: what the user said of this place: that it is to be asked, or that it is not; ``None`` when nothing was
            said, and then only the hosts that are known to be a provider's own are asked.
    """
    if declared is False or route.api not in _APIS:
        return False
    path, _, query = target.partition("?")
    if declared is None:
        needs = _ASKS.get(route.provider)
        if needs is None or needs.places is None or not needs.places.search(host.lower() + path):
            return False
    return route.provider != "azure" or _new_enough(query)


def _new_enough(query: str) -> bool:
    """Azure takes ``stream_options`` from the API of 2024-09 on, and in the one without a date."""
    version = parse_qs(query).get("api-version", [""])[0]
    return _DATED.match(version) is None or version[:7] >= _AZURE_SINCE


def is_signed(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request's headers sign its body, which then must not change.

    Args:
        headers: as pairs of bytes, names in any case.
    """
    for name, value in headers:
        name = name.lower()  # noqa: PLW2901 - the same name, comparable
        if name in _SIGNED or (name == b"authorization" and value[:12].lower().startswith(_SIGNATURES)):
            return True
    return False


class _Body(msgspec.Struct):
    stream: Any = None
    stream_options: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_sources: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_body = msgspec.json.Decoder(_Body).decode
_decode = msgspec.json.decode


def splice(body: bytes) -> bytes | None:
    """The body with ``stream_options.include_usage`` set, every other byte as it was; ``None`` to leave it as it is.

    It is left when it asks for no stream, says itself whether it wants the usage, or is nothing that can be read.
    """
    if b'"stream"' not in body:
        return None
    found = _read(body)
    # Azure refuses stream_options beside data of one's own (github.com/Azure/azure-sdk-for-js/issues/30751)
    if found is None or found.stream is not True or found.data_sources is not msgspec.UNSET:
        return None
    if found.stream_options is msgspec.UNSET:
        start = body.index(b"{") + 1
        return b"".join((body[:start], _ASKED, b",", body[start:]))
    value = bytes(found.stream_options)
    return _splice_into(body, value, _decode(value))


def _splice_into(body: bytes, value: bytes, options: object) -> bytes | None:
    """Sets the member in the options that there are: an object that does not have it, or null."""
    if options is None:
        asked = b'{"include_usage":true}'
    elif isinstance(options, dict) and "include_usage" not in options:
        inside = value[value.index(b"{") + 1 :]
        asked = b'{"include_usage":true' + (b"," if options else b"") + inside
    else:
        return None
    for member in _MEMBER.finditer(body):
        if body.startswith(value, member.end()):
            spliced = b"".join((body[: member.end()], asked, body[member.end() + len(value) :]))
            again = _read(spliced)
            # the same words may stand deeper inside too: only at the top do they change what is asked for
            if again is not None and again.stream_options is not msgspec.UNSET and bytes(again.stream_options) == asked:
                return spliced
    return None


def _read(body: bytes) -> _Body | None:
    try:
        return _decode_body(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def ask_for_usage(route: Route, body: bytes, *, host: str, target: str, declared: bool | None = None) -> bytes | None:
    """The body that asks for usage too: :func:`splice` where :func:`can_ask`; ``None`` when nothing is to change."""
    if b'"stream"' not in body or not can_ask(route, host, target, declared=declared):
        return None
    return splice(body)


# ---- the answer

_KEY: Final = b'"usage"'
_NULL: Final = b',"usage":null'
_CUTS: Final = tuple(
    re.compile(pattern)
    for pattern in (rb'\s*,\s*"usage"\s*:\s*null', rb'"usage"\s*:\s*null\s*,\s*', rb'"usage"\s*:\s*null')
)
_EMPTY: Final = re.compile(rb"\[\s*\]")


class _Chunk(msgspec.Struct):
    choices: msgspec.Raw = msgspec.Raw()
    usage: Any = msgspec.UNSET


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class UsageRemover(EventEditor):
    """Takes out of a stream of events what asking for usage put into it, and changes no other byte.

    An event whose choices are empty and whose usage is an object is dropped; ``"usage":null`` at the top of an event is
    taken out of it. What is no such event is handed on as it is. Only an event that is not yet whole is held back.
    """

    marker = _KEY

    def edit(self, event: bytes) -> bytes:
        """An event, whole, as it would be had nobody asked for usage."""
        found = _chunk_in(event)
        if found is None:
            return event
        if found.usage is None:
            return _without_null(event)
        if isinstance(found.usage, dict) and _EMPTY.fullmatch(found.choices):
            return b""
        return event

    def _idle(self, events: bytes) -> bytes:
        return events.replace(_NULL, b"")  # in a text it cannot be, for that holds no quotation mark

    def _alone(self, chunk: bytes) -> bytes | None:
        if self.idle.matches(chunk):
            at = chunk.rfind(_NULL)
            return chunk[:at] + chunk[at + len(_NULL) :]
        if chunk.endswith(b"\n\n") and 0x0D not in chunk:
            if _KEY not in chunk:
                return chunk
            if chunk.find(b"\n\n") == len(chunk) - 2:
                return self._learned(chunk)
        return None

    def _learned(self, event: bytes) -> bytes:
        """An event, edited; others that differ from it only in their texts need not be parsed."""
        edited = self.edit(event)
        if len(edited) == len(event) - len(_NULL) and event.count(_NULL) == event.count(_KEY) == 1:
            self.idle.learn(event, IdleText(b"content", b"obfuscation" if b'"obfuscation"' in event else None))
        return edited


def _chunk_in(event: bytes) -> _Chunk | None:
    try:
        return _decode_chunk(event[event.find(b"{") : event.rfind(b"}") + 1])
    except (msgspec.DecodeError, RecursionError):
        return None


def _without_null(event: bytes) -> bytes:
    """The event without the member ``"usage":null`` at its top, which it is known to have."""
    if event.count(_KEY) == 1:
        at = event.find(_NULL)
        if at >= 0:
            return event[:at] + event[at + len(_NULL) :]
    for pattern in _CUTS:
        for found in pattern.finditer(event):
            shorter = event[: found.start()] + event[found.end() :]
            left = _chunk_in(shorter)
            if left is not None and left.usage is msgspec.UNSET:
                return shorter
    return event
