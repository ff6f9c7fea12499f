"""The provider without its sockets: a request in, what to send out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final

import msgspec

from taximeter.simulator.answer import CacheHit, think
from taximeter.simulator.ask import Received
from taximeter.simulator.books import Books, Served
from taximeter.simulator.formats import SPEAKERS
from taximeter.simulator.knobs import BadKnobError, Knobs, split_model, turn
from taximeter.simulator.memory import Memory
from taximeter.simulator.play import Play, play
from taximeter.simulator.reply import Reply, dumps
from taximeter.simulator.sidelines import sideline
from taximeter.simulator.speaker import Speaker
from taximeter.wire import Route, recognise
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import obj, text

_COHERE: Final = "api.cohere.com"
_NAMELESS: Final = "simulated"
"""The model, where a request names none."""
_RETRY_STATUSES: Final = (429, 503, 529)
_NOT_THE_QUESTION: Final = frozenset(
    [
        "model",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "background",
        "safety_identifier",
        "prompt_cache_key",
        "service_tier",
    ]
)
"""Members of a body that change how an answer comes, and not what is said."""


class Request(msgspec.Struct, frozen=True):
    """An HTTP request.

    Attributes:
        target: path and query, as sent.
        headers: by lower-case name.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Response(msgspec.Struct, frozen=True):
    """What is to be sent, and how to book it; what is no metered call is not booked."""

    play: Play
    served: Served | None


class _RefusedError(Exception):
    """The provider says no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Provider:
    """Answers requests in every wire format. Not safe to share among threads: one thread has it.

    Args:
        books: where :mod:`taximeter.simulator.sidelines` reads what was served.
        cache_from_tokens: the shortest prefix of messages that the cache keeps.
    """

    def __init__(self, books: Books, cache_from_tokens: int) -> None:
        self._books = books
        self._memory = Memory(cache_from_tokens)

    def answer(self, request: Request) -> Response:
        """What to send."""
        path, _, query = request.target.partition("?")
        host = request.headers.get("host", "localhost")
        route = recognise(request.method, host, path) or recognise(request.method, _COHERE, path)
        if route is None:
            return Response(self._aside(request, path, query), None)
        if route.provider == "cohere" and "/cohere" not in path:
            route = msgspec.structs.replace(route, provider=host)
        speaker = SPEAKERS[route.api]
        call: Received | None = None
        knobs = Knobs()
        try:
            call = _received(request, path, query, route)
            knobs = self._live(call)
            reply = self._reply(speaker, call, knobs)
        except BadKnobError as error:
            reply = _refusal(speaker, 400, str(error), knobs)
        except _RefusedError as error:
            reply = _refusal(speaker, error.status, error.message, knobs)
        played = play(reply, knobs, hashlib.sha256(request.target.encode()).digest() if call is None else call.key)
        return Response(played, _draft(request, path, route, call, played))

    def _live(self, call: Received) -> Knobs:
        """The knobs, less the faults that the same request has had often enough."""
        knobs = call.knobs
        if knobs.times is None:
            return knobs
        return knobs if self._memory.attempt(call.key + dumps(knobs)) <= knobs.times else knobs.spent()

    def _reply(self, speaker: Speaker, call: Received, knobs: Knobs) -> Reply:
        if knobs.status is not None:
            raise _RefusedError(knobs.status, f"the simulator was asked for a {knobs.status}")
        if knobs.refuse_stream_options and "stream_options" in call.body:
            raise _RefusedError(422, "stream_options: extra inputs are not permitted")
        if call.method == "GET":
            found = speaker.poll(call, self._memory)
            if found is None:
                raise _RefusedError(404, "no response of this id was stored")
            return found
        ask = speaker.ask(call, self._memory)
        cached = call.route.api not in _UNCACHED
        hit = self._memory.prefix(call.model, ask) if cached else CacheHit(0, 0, "5m")
        return speaker.reply(call, think(call, ask, hit), self._memory)

    def _aside(self, request: Request, path: str, query: str) -> Play:
        """Model lists, token counts and the simulator's own pages."""
        status, body = sideline(request.method, path, query, request.headers, request.body, self._books)
        data = dumps(body)
        headers = [("content-type", "application/json")]
        return Play(status=status, headers=headers, chunks=[data], length=len(data))


_UNCACHED: Final = frozenset(
    {"openai.embeddings", "openai.images", "openai.transcriptions", "openai.speech", "gemini.embed", "vertex.predict"}
)
"""Formats that know no cache of prompts; what they are asked is not remembered."""


def _refusal(speaker: Speaker, status: int, message: str, knobs: Knobs) -> Reply:
    headers: tuple[tuple[str, str], ...] = ()
    if status in _RETRY_STATUSES or knobs.retry_after is not None:
        headers = (("retry-after", str(1 if knobs.retry_after is None else knobs.retry_after)),)
    body = speaker.refusal(status, message)
    if "__type" in body:
        headers += (("x-amzn-errortype", str(body["__type"])),)
    return Reply(chunks=[dumps(body)], usage=None, status=status, headers=headers)


def _received(request: Request, path: str, query: str, route: Route) -> Received:
    """The request, taken apart.

    Raises:
        BadKnobError: for knobs that there are not.
        _RefusedError: for a body that is neither JSON nor a form.
    """
    body = _body(request)
    named = route.model or text(body.get("model")) or text(body.get("agent")) or _NAMELESS
    model, suffix = split_model(named)
    knobs = turn(request.headers.get("x-simulate", ""), suffix)
    asked = {key: value for key, value in body.items() if key not in _NOT_THE_QUESTION}
    turned = (knobs.seed, knobs.output, knobs.reasoning, knobs.tools)
    question = msgspec.json.encode([route.api, model, turned, asked], order="sorted")
    return Received(
        method=request.method,
        path=path,
        query=query,
        headers=request.headers,
        body=body,
        route=route,
        model=model,
        stream=_is_stream(path, route, body),
        knobs=knobs,
        key=hashlib.sha256(question).digest(),
    )


def _is_stream(path: str, route: Route, body: Json) -> bool:
    if route.stream is not None:
        return route.stream
    if route.api == "ollama":  # streams, unless it is told not to
        return body.get("stream") is not False and path.rstrip("/").endswith(("/chat", "/generate"))
    return body.get("stream") in (True, "true") or path.endswith("/generate_stream")


def _body(request: Request) -> Json:
    if not request.body:
        return {}
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        return _form(kind, request.body)
    try:
        return obj(msgspec.json.decode(request.body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _RefusedError(400, f"the body is no JSON: {error}") from error


def _form(kind: str, body: bytes) -> Json:
    """The fields of a form; of a file its size, as ``<name>_bytes``."""
    parsed = BytesParser(policy=HTTP).parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
    fields: Json = {}
    for part in parsed.iter_parts():
        name = str(part.get_param("name", "", header="content-disposition"))
        content = part.get_payload(decode=True)
        data = content if isinstance(content, bytes) else b""
        if part.get_filename() is None:
            fields[name] = data.decode("utf-8", "replace")
        else:
            fields[f"{name}_bytes"] = len(data)
    return fields


def _draft(request: Request, path: str, route: Route, call: Received | None, played: Play) -> Served:
    """The entry in the books, before it is known what was really sent."""
    return Served(
        number=0,
        method=request.method,
        path=path,
        api=route.api,
        provider=route.provider,
        model=played.model or (_NAMELESS if call is None else call.model),
        stream=call is not None and call.stream,
        status=0 if played.no_head else played.status,
        outcome=played.outcome,
        planned=played.planned,
        response_id=played.response_id,
        tool_calls=played.tool_calls,
        knobs="" if call is None else _written(request, call),
    )


def _written(request: Request, call: Received) -> str:
    suffix = split_model(call.route.model or text(call.body.get("model")) or "")[1]
    return " ".join(filter(None, (request.headers.get("x-simulate", ""), suffix)))
