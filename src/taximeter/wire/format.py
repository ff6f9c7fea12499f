"""What every wire format has in common: the state of one answer while it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import ClassVar, TypeVar, cast

import msgspec

from taximeter.event import Content, ProviderError, ToolCall, UsageSource
from taximeter.money import Money
from taximeter.usage import Contradiction, Count, Usage, consistent
from taximeter.wire.idle import UNUSUAL, IdleText
from taximeter.wire.keeping import Keep, KeptAnswer, KeptText
from taximeter.wire.loose import MAX_COUNT, JsonObject, arr, count, dump, maybe_obj, moment, obj, text, utf8_len, word
from taximeter.wire.reading import PartReading, Reading

ESTIMATE_BYTES_PER_TOKEN = 4
"""Bytes of UTF-8 text taken for a token where a cut stream leaves only its text to go by."""

MAX_TOOL_CALLS = 1024
"""Tool calls kept of one answer; what a model really asks for is a handful."""


class Route(msgspec.Struct, frozen=True):
    """How a call is to be read, as its method, host and path tell.

    Attributes:
        api: the wire format (:data:`taximeter.wire.routes.APIS`).
        provider: who is called.
        model: the model that the path names, if it does.
        stream: whether the path itself asks for a stream; ``None`` when the body says.
        vague: whether neither the host nor the path is one that only models have: a body that names no model is then
            that of something else.
    """

    api: str
    provider: str
    model: str | None = None
    stream: bool | None = None
    vague: bool = False


class _Tool:
    __slots__ = ("argument_bytes", "arguments", "id", "name")

    def __init__(self, identity: str | None, name: str, arguments: KeptText | None) -> None:
        self.id = identity
        self.name = name
        self.argument_bytes = 0
        self.arguments = arguments


def _nothing_usual(_route: Route, _body: bytes) -> Reading | None:
    return None


class Format:
    """Reads the answer to one call. A subclass knows one wire format and fills in what it finds.

    A whole body arrives by :meth:`document`, a stream by :meth:`event`; :meth:`counts` then says what was counted.
    """

    line_stream: ClassVar[bool] = False
    """Whether the format's streams are one JSON value a line."""
    array_stream: ClassVar[bool] = False
    """Whether the format's streams can be one JSON array."""
    silent: ClassVar[Mapping[bytes, bytes]] = {}
    """Names of events that by their protocol tell nothing that is asked here, each with how its data begins."""
    usual: ClassVar[Callable[[Route, bytes], Reading | None]] = staticmethod(_nothing_usual)
    """Reads a whole body at once if it is what most are, and says ``None`` of every other.

    What it says is what :meth:`document` and :meth:`reading` would say, sooner: the body is decoded into narrow
    records, whose types see to it that nothing unusual is there.
    """

    response_model: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    finish_reason: str | None = None
    error: ProviderError | None = None
    provider_cost: Money | None = None
    created: int | None = None
    raw_usage: object = None
    text_bytes: int = 0
    ended: bool = False
    """Whether the stream has come to the end that its protocol requires."""
    first_part_billed: bool = True
    keep: Keep = "none"
    """What is kept of what is said."""
    answer: KeptAnswer | None = None
    """Where the text of the answer is kept, if it is."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        self.route = route
        self.headers = headers
        self.price_context: dict[str, str] = {}
        self.contradictions: list[Contradiction] = []
        self.extra_parts: list[PartReading] = []
        self.tools: dict[object, _Tool] = {}

    def keeping(self, keep: Keep) -> None:
        """Has what is said kept, from here on."""
        self.keep = keep
        self.answer = KeptAnswer() if keep == "full" else None

    def within(self, kind: type[_FormatT]) -> _FormatT:
        """A format that reads what is wrapped in this one; see :meth:`adopt`."""
        inner = kind(self.route, self.headers)
        inner.keep, inner.answer = self.keep, self.answer
        return inner

    # ---- what a subclass does

    def document(self, body: JsonObject) -> None:
        """Reads a whole body, error or answer."""
        raise NotImplementedError

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        """Reads one event of a stream; says so when it held nothing but text."""
        raise NotImplementedError

    def usual_event(self, name: bytes, data: bytes) -> IdleText | None:
        """Reads an event at once if it is what most are, as :attr:`usual` does with a whole body.

        Says what :meth:`event` would say; of every other event :data:`UNUSUAL`, and nothing is kept of it.
        """
        return UNUSUAL

    def marker(self, data: bytes) -> None:
        """Takes an event that is no JSON object: ``[DONE]``."""

    def counts(self) -> dict[str, Count | None] | None:
        """What was counted, by unit, in inclusive totals; ``None`` when the answer did not say.

        A value may exceed the total that includes it: the caller clamps and flags it.
        """
        raise NotImplementedError

    def usage_is_final(self) -> bool:
        """Whether the usage seen in a stream is the last word, and not a running figure."""
        return True

    # ---- what a subclass uses

    def identify(self, body: JsonObject, model_key: str = "model") -> None:
        """Keeps the model, id, time and tier that OpenAI-shaped answers carry at their top."""
        get = body.get
        self.response_model = text(get(model_key)) or self.response_model
        self.response_id = text(get("id")) or self.response_id
        if self.created is None:
            self.created = moment(get("created"))
        self.service_tier = text(get("service_tier")) or self.service_tier

    def add_text(self, *values: object) -> None:
        """Counts output text that is not the answer: a thought, a plan."""
        for value in values:
            if isinstance(value, str):
                self.text_bytes += utf8_len(value)

    def add_answer(self, value: object, choice: object = 0) -> None:
        """Counts a piece of the answer's text; ``choice`` tells apart the answers to one call."""
        if isinstance(value, str):
            self.text_bytes += utf8_len(value)
            if self.answer is not None:
                self.answer.add(value, choice)

    def add_tool(self, key: object, identity: object, name: object, arguments: object = None) -> None:
        """Notes a tool call, or more of one: ``key`` tells apart the calls of one answer."""
        try:
            tool = self.tools.get(key)
        except TypeError:  # an index that is an array
            key, tool = None, self.tools.get(None)
        if tool is None:
            named = "" if name == "" else text(name)
            if named is None or len(self.tools) >= MAX_TOOL_CALLS:
                return
            tool = self.tools[key] = _Tool(text(identity), named, None if self.keep == "none" else KeptText())
        elif tool.id is None:
            tool.id = text(identity)
        if arguments is not None:
            sent = arguments if isinstance(arguments, str) else dump(arguments)
            size = utf8_len(sent)
            tool.argument_bytes += size
            self.text_bytes += size
            if tool.arguments is not None:
                tool.arguments.add(sent)

    def flag(self, kind: str, unit: str, detail: str) -> None:
        """Names a contradiction."""
        flag(self.contradictions, kind, unit, detail)

    def fail(self, body: object) -> bool:
        """Keeps the error that ``body`` is, if it is one, unless one is kept already."""
        found = find_error(body)
        if found is not None and self.error is None:
            self.error = found
        return found is not None

    def adopt(self, inner: Format, *, ended: bool | None = None) -> None:
        """Takes over what another format found in the same answer, once it has counted."""
        told = self.error  # by the framing: an exception in Amazon's event stream
        for name in _ADOPTED:
            setattr(self, name, getattr(inner, name))
        self.error = told or self.error
        if ended is not None:
            self.ended = ended

    def check_total(self, stated: object, counted: int) -> None:
        """Flags a total of the provider's own that is not what it counted."""
        total = count(stated)
        if total is not None and total != counted:
            self.flag(
                "total_disagrees", "total_tokens", f"the provider's total is {total}, its counts sum to {counted}"
            )

    def _check_counts(self) -> None:
        """Flags what stands where a count belongs and is none: a text, a fraction, a negative number."""
        usage = obj(self.raw_usage)
        for key in wrong_counts(usage):
            self.flag("not_a_count", key, f"{key} is {dump(usage[key])[:40]}, which is no count")

    # ---- the outcome

    def reading(self, *, stream: bool, whole: bool, fault: str | None) -> Reading:
        """Everything found.

        Args:
            stream: whether the answer came as events.
            whole: whether the transport, and the encodings in it, came to their end.
            fault: what could not be read.
        """
        complete = self.ended and whole if stream else (None if whole else False)
        counts = self.counts()
        self._check_counts()
        source: UsageSource = "reported"
        total: Usage | None = None
        parts: tuple[PartReading, ...] = ()
        if counts is None:
            source = "unknown"
        else:
            if stream and not self.usage_is_final():
                source = "estimated"
            total, parts = self._parts(counts)
        return Reading(
            usage=total,
            usage_source=source,
            raw_usage=None if self.raw_usage is None else dump(self.raw_usage),
            contradictions=tuple(self.contradictions),
            parts=parts,
            response_model=self.response_model,
            response_id=self.response_id,
            service_tier=self.service_tier,
            price_context=tuple(sorted(self.price_context.items())) if self.price_context else (),
            finish_reason=self.finish_reason,
            tool_calls=tuple([ToolCall(tool.id, tool.name, tool.argument_bytes) for tool in self.tools.values()]),
            error=self.error,
            stream=stream,
            complete=complete,
            provider_cost=self.provider_cost,
            created=self.created,
            text_bytes=self.text_bytes,
            fault=fault,
            content=None if self.keep == "none" else self._content(),
        )

    def so_far(self) -> Reading:
        """What :meth:`reading` would say if the stream ended here; what is yet to come changes nothing of it."""
        seen = copy(self)  # to count is to note things, and it will be done again
        seen.contradictions = list(self.contradictions)
        seen.price_context = dict(self.price_context)
        seen.extra_parts = list(self.extra_parts)
        return seen.reading(stream=True, whole=True, fault=None)

    def _parts(self, counts: Mapping[str, Count | None]) -> tuple[Usage, tuple[PartReading, ...]]:
        """The sum of what is billed, and the parts."""
        usage, clamped = consistent(counts)
        self.contradictions += clamped
        first = PartReading(self.response_model, usage, self.first_part_billed)
        if self.first_part_billed and not self.extra_parts:
            return usage, (first,)
        parts = (first, *self.extra_parts)
        return Usage.total(part.usage for part in parts if part.billed and part.usage is not None), parts

    def _content(self) -> Content | None:
        """What was said; ``None`` where arguments alone are kept and there are none."""
        if self.keep == "tool_arguments" and not self.tools:
            return None
        return Content(
            answer=str(self.answer) if self.answer else None,
            tool_arguments=tuple(str(tool.arguments or "") for tool in self.tools.values()),
        )


_FormatT = TypeVar("_FormatT", bound=Format)
_COUNT_KEYS = ("_tokens", "TokenCount", "Tokens", "_count")


def silent(*types: str) -> Mapping[bytes, bytes]:
    """Events named by their ``type``, which stands first in their data; see :attr:`Format.silent`."""
    return {each.encode(): b'{"type":"%b"' % each.encode() for each in types}


def flag(found: list[Contradiction], kind: str, unit: str, detail: str) -> None:
    """Names a contradiction, once."""
    named = msgspec.convert({"kind": kind, "unit": unit, "detail": detail}, Contradiction)
    if named not in found:
        found.append(named)


def wrong_counts(usage: JsonObject) -> list[str]:
    """The keys of a usage object under which a count belongs, and none stands."""
    return [
        key
        for key, value in usage.items()
        if (type(value) is not int or not 0 <= value <= MAX_COUNT)
        and value is not None
        and key.endswith(_COUNT_KEYS)
        and count(value) is None
    ]


def total_of(*counts: int | None) -> int | None:
    """The sum of the counts that are present; absent when none is."""
    present = [each for each in counts if each is not None]
    return sum(present) if present else None


def estimated_tokens(text_bytes: int) -> int:
    """Tokens that a text is taken to have been, rounded up."""
    return -(-text_bytes // ESTIMATE_BYTES_PER_TOKEN)


_ADOPTED = (
    "response_model",
    "response_id",
    "service_tier",
    "finish_reason",
    "error",
    "provider_cost",
    "created",
    "raw_usage",
    "text_bytes",
    "ended",
    "price_context",
    "contradictions",
    "first_part_billed",
    "extra_parts",
    "tools",
)

_MAX_MESSAGE = 2000
_ERROR_CODES = ("code", "status_code", "statusCode")


def find_error(body: object) -> ProviderError | None:
    """The error that a body is, in any of the shapes that providers use; ``None`` when it is none."""
    if isinstance(body, list):
        return next((found for item in arr(cast("object", body)) if (found := find_error(item)) is not None), None)
    outer = obj(body)
    stated = outer.get("error")
    if stated is not None:
        inner = maybe_obj(stated)
        if inner is not None:
            return _error_object(inner, outer)
        if text(stated) is not None:
            return ProviderError(type=text(outer.get("type")), code=_code(outer), message=text(stated))
    if outer.get("type") == "error":
        return _error_object(outer, {})
    return None


def failure(body: object) -> ProviderError:
    """The error of an answer whose HTTP status says that it is one, whatever its shape."""
    found = find_error(body)
    if found is not None:
        return found
    outer = obj(body)
    listed = arr(outer.get("errors"))
    if listed and obj(listed[0]):  # Cloudflare
        return _error_object(obj(listed[0]), outer)
    message = (
        text(outer.get("message"))
        or text(outer.get("Message"))
        or text(outer.get("detail"))
        or text(outer.get("error_message"))
    )
    if message is None:
        message = body if isinstance(body, str) else dump(body)[:_MAX_MESSAGE] if body else None
    kind = text(outer.get("type")) or text(outer.get("__type")) or text(outer.get("status"))
    return ProviderError(type=kind, code=_code(outer), message=message)


def _error_object(inner: JsonObject, outer: JsonObject) -> ProviderError:
    kind = word(inner.get("type")) or text(inner.get("status"))
    kind = None if kind == "error" else kind
    message = text(inner.get("message")) or text(inner.get("detail")) or (dump(inner)[:_MAX_MESSAGE] if inner else None)
    return ProviderError(type=kind, code=_code(inner) or _code(outer), message=message)


def _code(body: JsonObject) -> str | None:
    return next((found for key in _ERROR_CODES if (found := word(body.get(key))) is not None), None)
