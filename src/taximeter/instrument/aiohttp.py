"""The hook of the aiohttp client, 3.x, and through it of LiteLLM's default transport.

A call begins where a session asks its connector for a connection, and is answered where a response is started: each
redirect, and each repetition on a fresh connection, passes there by itself. The body is seen as the event loop hands it
to the response's stream, whether or not the application reads it: an answer that came whole is complete. aiohttp undoes
the content-encoding before that, unless told otherwise; what the meter is fed is then plain, and the header that says
otherwise is kept from it.

A stream that does not ask for its usage is made to where :mod:`taximeter.wire.injection` says that it may be, and what
this adds to the answer is taken out again on its way into the response's stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from taximeter.errors import WireError
from taximeter.instrument.passage import Asked, Passage, Switch, meter_for, not_answered, open_call, patch

if TYPE_CHECKING:
    from taximeter.meter.call import Call
    from taximeter.meter.runtime import Meter
    from taximeter.wire.injection import UsageRemover

MODULE: Final = "aiohttp"
"""The module to wait for."""

_MARK: Final = "_taximeter"
_OK: Final = 200
_undo: list[Callable[[], None]] = []


def install(module: Any) -> None:  # noqa: ANN401 - the library need not be here when types are checked
    """Hooks the library, once."""
    if _undo:
        return
    hook = _Hook(module)
    _undo.append(hook.switch.off)
    _undo.append(patch(module.BaseConnector, "connect", hook.connecting))
    _undo.append(patch(module.ClientRequest, "send", hook.sending))
    _undo.append(patch(module.ClientResponse, "start", hook.starting))


def uninstall(module: Any) -> None:  # noqa: ANN401, ARG001 - as above; the same for every library
    """Puts back what was there before."""
    while _undo:
        _undo.pop()()


class _UnderWay:
    """A call between the moment when its request sets out and the head of its answer.

    Attributes:
        asked_usage: whether the request was made to ask for usage.
    """

    __slots__ = ("asked_usage", "call", "meter")

    def __init__(self, meter: Meter, call: Call) -> None:
        self.meter = meter
        self.call = call
        self.asked_usage = False


class _Hook:
    """The wrappers. They are no coroutines themselves: other traffic gets the library's own, with nothing around it."""

    def __init__(self, module: Any) -> None:  # noqa: ANN401
        self.switch = Switch()
        self._reader = module.StreamReader
        self._payload = module.BytesPayload
        self._closed = module.ClientConnectionError
        self._bad_payload = module.ClientPayloadError

    def connecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Where a request sets out."""
        switch = self.switch

        def connect(connector: Any, req: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            meter = meter_for(req.url.raw_path) if switch.on else None
            asked = None if meter is None else self._asked(meter, req)
            call = None if meter is None or asked is None else open_call(meter, asked)
            if meter is None or asked is None or call is None:
                return original(connector, req, *args, **kwargs)
            return metered(_UnderWay(meter, call), asked, connector, req, *args, **kwargs)

        async def metered(
            under_way: _UnderWay,
            asked: Asked,
            connector: Any,  # noqa: ANN401
            req: Any,  # noqa: ANN401
            *args: Any,  # noqa: ANN401
            **kwargs: Any,  # noqa: ANN401
        ) -> Any:  # noqa: ANN401
            try:
                await self._ask_usage(under_way, asked, req)
                connection = await original(connector, req, *args, **kwargs)
            except BaseException as error:
                not_answered(under_way.call, error)
                raise
            setattr(req, _MARK, under_way)
            return connection

        return connect

    def sending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Where a request is written, which makes the response."""

        def send(req: Any, conn: Any) -> Any:  # noqa: ANN401
            under_way = req.__dict__.pop(_MARK, None)
            return original(req, conn) if under_way is None else metered(under_way, req, conn)

        async def metered(under_way: _UnderWay, req: Any, conn: Any) -> Any:  # noqa: ANN401
            try:
                response = await original(req, conn)
            except BaseException as error:
                not_answered(under_way.call, error)
                raise
            setattr(response, _MARK, under_way)
            return response

        return send

    def starting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Where the head of the answer comes."""

        def start(response: Any, connection: Any) -> Any:  # noqa: ANN401
            under_way = response.__dict__.pop(_MARK, None)
            return original(response, connection) if under_way is None else metered(under_way, response, connection)

        async def metered(under_way: _UnderWay, response: Any, connection: Any) -> Any:  # noqa: ANN401
            try:
                started = await original(response, connection)
            except BaseException as error:
                not_answered(under_way.call, error)
                raise
            try:
                self._watch(under_way, response)
            except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
                under_way.meter.failed("hook", error, under_way.call.id)
            return started

        return start

    def _asked(self, meter: Meter, req: Any) -> Asked | None:  # noqa: ANN401
        try:
            url = req.url
            return Asked(req.method, _host(url), url.raw_path_qs, req.headers, self._plain(req.body))
        except Exception as error:  # noqa: BLE001 - as above
            meter.failed("hook", error)
            return None

    def _plain(self, body: object) -> bytes | None:
        """A body that is there as a whole; files, iterators and forms are left alone."""
        if not isinstance(body, self._payload):
            return None
        value = getattr(body, "_value", None)
        if isinstance(value, bytes):
            return value
        return bytes(cast("bytearray", value)) if isinstance(value, bytearray | memoryview) else None

    async def _ask_usage(self, under_way: _UnderWay, asked: Asked, req: Any) -> None:  # noqa: ANN401
        """Has a stream state its usage, where it would not and may be asked to."""
        if getattr(req.body, _MARK, False):
            under_way.asked_usage = True  # sent again, after a redirect, as it was changed the first time
            return
        try:
            from taximeter.instrument.asking import body_that_asks  # noqa: PLC0415 - loaded with the meter

            body = body_that_asks(under_way.meter, under_way.call, asked)
            if body is None or req.compress or not hasattr(req, "update_body"):
                return
            payload = self._payload(body, content_type=req.body.content_type)
            setattr(payload, _MARK, True)
            await req.update_body(payload)
            req.headers["Accept-Encoding"] = "identity"
            under_way.asked_usage = True
        except Exception as error:  # noqa: BLE001 - as above; the call goes on as the application made it
            under_way.meter.failed("hook", error, under_way.call.id)

    def _watch(self, under_way: _UnderWay, response: Any) -> None:  # noqa: ANN401
        """Looks on at the body from here: first at what has come already."""
        content = response.content
        decoded = _is_decoded(response, content)
        passage = Passage(under_way.call, response.status, _heads(response, decoded=decoded))
        remover = _remover(response, decoded=decoded) if under_way.asked_usage else None
        if type(content) is not self._reader:  # a response that has no body
            passage.ended()
            return
        before: list[bytes] = list(content._buffer)  # noqa: SLF001 - nobody has read from it yet
        for chunk in before:
            passage.feed(chunk)
        if remover is not None:
            _edit(content, remover, before)
        error = content.exception()
        if error is not None:
            passage.broke(error)
        elif content.is_eof():
            passage.ended()
        else:
            content._eof_callbacks = _Watching(content._eof_callbacks, passage, remover)  # noqa: SLF001
            content.__class__ = _watched(self._reader, self._closed, self._bad_payload)
            setattr(response, _MARK, _LetGo(passage))


class _Watching(list[Callable[[], None]]):
    """A stream's callbacks, and who looks on: a stream has no room for an attribute of its own."""

    __slots__ = ("passage", "remover")

    def __init__(self, callbacks: Iterable[Callable[[], None]], passage: Passage, remover: UsageRemover | None) -> None:
        super().__init__(callbacks)
        self.passage = passage
        self.remover = remover


class _LetGo:
    """Kept by a response, and by nobody else: when it goes, the application has let go of the answer."""

    __slots__ = ("_passage",)

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    def __del__(self) -> None:
        self._passage.left()


@cache
def _watched(kind: Any, closed: Any, bad_payload: Any) -> Any:  # noqa: ANN401, C901 - a class of small methods
    """The class of a body's stream, with somebody looking on at what comes."""

    class Watched(kind):
        __slots__ = ()

        def feed_data(self, data: bytes, *args: Any) -> Any:  # noqa: ANN401
            watching = self._eof_callbacks
            watching.passage.feed(data)
            if watching.remover is None:
                return kind.feed_data(self, data, *args)
            try:
                edited = watching.remover.feed(data)
            except WireError as error:
                self.set_exception(bad_payload(str(error)))
                return False
            return kind.feed_data(self, edited, len(edited)) if edited else False

        def feed_eof(self) -> None:
            self._eof_callbacks.passage.ended()
            self._rest()
            kind.feed_eof(self)

        def set_exception(self, exc: BaseException, *args: Any) -> None:  # noqa: ANN401
            passage = self._eof_callbacks.passage
            if type(exc) is not closed:
                passage.broke(exc)
            elif getattr(self._timer, "_cancelled", False):
                passage.broke(TimeoutError("the session's total timeout has passed"))
            else:  # the application closed or released the response
                passage.left()
            if not self._eof:
                self._rest()
            kind.set_exception(self, exc, *args)

        def _rest(self) -> None:
            """What was held back of an event that may have become whole."""
            watching = self._eof_callbacks
            remover, watching.remover = watching.remover, None
            try:
                rest = b"" if remover is None else remover.close()
            except WireError:
                return  # whoever reads on has been told
            if rest:
                kind.feed_data(self, rest, len(rest))

    for kept in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Watched, kept, getattr(kind, kept))
    return Watched


def _host(url: Any) -> str:  # noqa: ANN401
    port = url.explicit_port
    host: str = f"[{url.raw_host}]" if ":" in url.raw_host else url.raw_host
    return host if port is None or url.is_default_port() else f"{host}:{port}"


def _is_decoded(response: Any, content: Any) -> bool:  # noqa: ANN401
    """Whether the library undoes the content-encoding."""
    missing = object()
    encoded_bytes = getattr(content, "total_compressed_bytes", missing)
    if encoded_bytes is not missing:
        return encoded_bytes is not None
    return bool(getattr(response._session, "_auto_decompress", True))  # noqa: SLF001 - older ones say it nowhere else


def _heads(response: Any, *, decoded: bool) -> list[tuple[str, str]]:  # noqa: ANN401
    pairs: list[tuple[str, str]] = list(response.headers.items())
    return [pair for pair in pairs if pair[0].lower() != "content-encoding"] if decoded else pairs


def _remover(response: Any, *, decoded: bool) -> UsageRemover | None:  # noqa: ANN401
    """Takes out of a stream what asking for usage put into it."""
    from taximeter.wire.injection import UsageRemover  # noqa: PLC0415 - loaded with the meter

    headers = response.headers
    if response.status != _OK or "event-stream" not in headers.get("content-type", ""):
        return None
    encoding = None if decoded else headers.get("content-encoding")
    try:
        remover = UsageRemover(encoding)
    except WireError:
        return None  # encoded in a way that we cannot undo, although we asked for none
    if encoding is not None or "content-length" in headers:
        changed = headers.copy()
        changed.popall("content-length", None)
        if encoding is not None:
            changed.popall("content-encoding", None)
        response._headers = type(headers)(changed)  # noqa: SLF001 - the library's own, as below
        response._cache.pop("headers", None)  # noqa: SLF001
    return remover


def _edit(content: Any, remover: UsageRemover, before: list[bytes]) -> None:  # noqa: ANN401
    """Puts in the place of what a stream holds what it would hold had nobody asked for usage."""
    at_end = content.is_eof()
    chunks = [remover.feed(chunk) for chunk in before]
    if at_end:
        chunks.append(remover.close())
    kept = deque(chunk for chunk in chunks if chunk)
    content._buffer = kept  # noqa: SLF001 - the library's own, as below
    content._size = content.total_bytes = sum(map(len, kept))  # noqa: SLF001
    if content._http_chunk_splits is not None:  # noqa: SLF001
        content._http_chunk_splits = deque([content.total_bytes] if kept else ())  # noqa: SLF001
