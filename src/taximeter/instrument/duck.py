"""What an SDK's objects say of a call, told by their shape: no SDK is imported, and none is needed.

An SDK's answer is what its provider sent, dressed up. It is turned back into JSON and handed to the reader of the wire
format that it looks like, so that there is one truth about what a provider's counts mean: :mod:`taximeter.wire`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from taximeter.errors import WireError
from taximeter.units import UNITS
from taximeter.usage import Usage, consistent
from taximeter.wire import PartReading, Reader, Reading, Route
from taximeter.wire.loose import JsonObject, count, maybe_obj, obj, parse, text

UNKNOWN: Final = "unknown"
"""The provider of a call that nothing tells the provider of."""

_WHOLE: Final = (("content-type", "application/json"),)
_STREAM: Final = (("content-type", "text/event-stream"),)
_PLAIN: Final = (str, bytes, bytearray, int, list, tuple, set, type(None))

# ---- objects into JSON

_DUMPS: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    ("model_dump", {"mode": "json", "by_alias": True, "exclude_none": True, "warnings": False}),
    ("model_dump", {}),
    ("to_dict", {}),
    ("dict", {}),
)
"""How SDKs' objects are asked for their contents: pydantic's way with the wire's own names, then others'."""


def _contents(value: object) -> object:
    """The contents of an object that is no JSON value; ``None`` where it has none that can be told."""
    for name, arguments in _DUMPS:
        dump = getattr(type(value), name, None)
        if callable(dump):
            try:
                return dump(value, **arguments)
            except TypeError:  # of the same name, with other arguments
                continue
    fields: Mapping[str, object] | None = getattr(value, "__dict__", None)
    return {name: each for name, each in fields.items() if name[:1] != "_" and not callable(each)} if fields else None


_MARKS: Final = (
    "usage", "usage_metadata", "usageMetadata", "choices", "candidates", "type", "meta", "metadata", "done", "data",
    "eval_count", "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop",
)  # fmt: skip
"""Names of which every answer, and every event of a stream, has one: nothing else is looked into."""


def _marked(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(name in value for name in _MARKS)
    return any(hasattr(value, name) for name in _MARKS)


_encode: Callable[[object], bytes] = msgspec.json.Encoder(enc_hook=_contents, decimal_format="number").encode


def document_of(value: object) -> JsonObject | None:
    """The JSON object that an SDK's object stands for, as its provider names things; ``None`` when it is none.

    Whatever its methods raise is raised: who asks counts it.
    """
    found = None if isinstance(value, _PLAIN) or not _marked(value) else _json_object(value)
    if found is None:
        return None
    inner = maybe_obj(found.get("data"))
    if inner is not None and ("choices" in inner or "usage" in inner):  # Mistral's events
        return inner
    return cast("JsonObject", _camel(found)) if "usage_metadata" in found else found


def _json_object(value: object) -> JsonObject | None:
    try:
        return maybe_obj(parse(_encode(value)))
    except (WireError, TypeError, msgspec.MsgspecError, RecursionError, UnicodeError):
        return None  # a thing that JSON has no words for is no answer of a provider's


_SNAKE = re.compile(r"_([a-z0-9])")


def _camel(value: object) -> object:
    """The same with the names that Google's wire has: its SDKs have others."""
    if isinstance(value, dict):
        items = cast("JsonObject", value).items()
        return {_SNAKE.sub(lambda found: found[1].upper(), name): _camel(item) for name, item in items}
    return [_camel(item) for item in cast("list[object]", value)] if isinstance(value, list) else value


# ---- whose they are

_CONVERSE: Final = {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop"}
_COHERE: Final = re.compile(r"(message|content|citation|tool-plan|tool-call)-(start|delta|end)$")
_ANTHROPIC: Final = re.compile(r"message$|message_(start|delta|stop)$|content_block_")


def api_of(document: JsonObject) -> str | None:  # noqa: C901, PLR0911 - one line per shape
    """The wire format that a JSON object is in; ``None`` when it is in none that can be told."""
    kind, shape = text(document.get("type")) or "", text(document.get("object")) or ""
    usage = obj(document.get("usage")) or obj(obj(document.get("metadata")).get("usage"))
    billed = "billed_units" in usage or "billed_units" in obj(document.get("meta"))
    if billed or _COHERE.match(kind):
        return "cohere.embed" if "embeddings" in document else "rerank" if "results" in document else "cohere.chat"
    if shape == "response" or kind.startswith("response."):
        return "openai.responses"
    if "choices" in document:
        return "openai.completions" if shape == "text_completion" else "openai.chat"
    if _ANTHROPIC.match(kind) or "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        return "anthropic.messages"
    if "usageMetadata" in document or "candidates" in document:
        return "gemini.generate"
    if "inputTokens" in usage or "outputTokens" in usage or not document.keys().isdisjoint(_CONVERSE):
        return "bedrock.converse"
    if "prompt_eval_count" in document or "eval_count" in document or isinstance(document.get("done"), bool):
        return "ollama"
    if shape == "list" and "data" in document and usage:
        return "openai.embeddings"
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        return "openai.chat"
    if "input_tokens" in usage or "output_tokens" in usage:
        return "anthropic.messages" if "stop_reason" in document else "openai.responses"
    return None


_MAKERS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "vertexai": "vertex",
    "mistralai": "mistral",
    "groq": "groq",
    "cohere": "cohere",
    "ollama": "ollama",
    "together": "together",
    "cerebras": "cerebras",
    "xai_sdk": "xai",
}
"""The provider that a package's objects come from, where the package is the provider's own."""

_ONLY: Final = {
    "anthropic.messages": "anthropic",
    "gemini.generate": "google",
    "bedrock.converse": "bedrock",
    "cohere.chat": "cohere",
    "cohere.embed": "cohere",
    "ollama": "ollama",
}
"""The provider whose own format it is. OpenAI's is spoken by everybody, and says nothing."""


def provider_of(value: object, api: str) -> str:
    """Who made an object, as its package or else its format tells."""
    package = type(value).__module__.partition(".")[0]
    return _MAKERS.get(package) or _ONLY.get(api, UNKNOWN)


# ---- what they say


class Witness:
    """What can be told of one call from the objects that it gave.

    Attributes:
        api: the wire format that they are in; ``None`` while none was recognised.
        provider: whose they are.
        stream: whether they came one by one.
    """

    def __init__(self) -> None:
        self.api: str | None = None
        self.provider = UNKNOWN
        self.stream = False
        self._reader: Reader | None = None
        self._whole: Reading | None = None

    def see(self, value: object, *, stream: bool = False) -> None:
        """Takes an object that may be an answer, or the event of a stream: always so if ``stream``.

        Whatever the object's methods raise is raised.
        """
        self.stream = self.stream or stream
        document = document_of(value)
        api = api_of(document) if document is not None else None
        if document is None or (api is None and self._reader is None):
            return
        if api is not None and self.api is None:
            self.api, self.provider = api, provider_of(value, api)
        route = Route(self.api or UNKNOWN, self.provider)
        if stream or _is_event(document, api):
            self.stream = True
            self._reader = self._reader or Reader(route, headers=_STREAM)
            self._reader.feed(b"data: %b\n\n" % _encode(document))
        else:
            reader = Reader(route, headers=_WHOLE)
            reader.feed(_encode(document))
            self._whole = reader.close()

    def reading(self, *, cut: bool) -> Reading | None:
        """What was seen; ``None`` when nothing was recognised.

        Args:
            cut: the stream broke off, or was let go.
        """
        if self._whole is not None:
            return self._whole
        return self._reader.close(cut=cut) if self._reader is not None else None


def _is_event(document: JsonObject, api: str | None) -> bool:
    """Whether an object is an event of a stream by its own word."""
    kind, shape = text(document.get("type")) or "", text(document.get("object")) or ""
    return (
        shape.endswith(".chunk")
        or kind.startswith(("message_", "message-", "content_", "content-", "response.", "tool-"))
        or document.get("done") is False
        or (api == "bedrock.converse" and not document.keys().isdisjoint(_CONVERSE | {"metadata"}))
    )


def stated(usage: object, model: str | None) -> Reading:
    """What an application says that a call used.

    Args:
        usage: counts by our units, or a provider's usage object in whatever dress.
        model: at which model.

    Raises:
        UsageError: for counts that cannot be.
        TypeError: for what is no usage.
    """
    if isinstance(usage, Usage):
        return _reading(usage, model)
    if isinstance(usage, Mapping) and usage.keys() <= UNITS.keys():
        return _reading(cast("Mapping[str, Any]", usage), model)
    document = {} if isinstance(usage, _PLAIN) else _json_object(cast("object", usage)) or {}
    counted = {unit: count(value) for unit, value in document.items() if unit in UNITS and unit != "requests"}
    if counted.keys() - _SHARED:
        return _reading(counted, model)
    google = any(name.startswith("prompt") and name not in _OPENAI for name in document)
    witness = Witness()
    witness.see({"usageMetadata": _camel(document)} if google else {"usage": document})
    found = witness.reading(cut=False)
    if found is not None and found.usage is not None:
        return msgspec.structs.replace(found, response_model=model or found.response_model)
    kind = type(cast("object", usage)).__name__
    msg = f"{kind} is no usage; give counts by unit: {{'input_tokens': 12, 'output_tokens': 3}}"
    raise TypeError(msg)


_SHARED: Final = {"input_tokens", "output_tokens"}
"""Names that are ours and some providers' too, who do not always mean the same by them."""

_OPENAI: Final = {"prompt_tokens", "prompt_tokens_details"}


def _reading(counts: Mapping[str, Any], model: str | None) -> Reading:
    usage, clamped = consistent(counts)
    return Reading(
        usage=usage,
        usage_source="reported",
        contradictions=clamped,
        parts=(PartReading(model=model, usage=usage),),
        response_model=model,
    )
