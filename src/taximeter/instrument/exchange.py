"""One metered call over httpx or httpx2: from the request that a transport is given to the end of the body.

Neither package is imported: what is needed of it is found by the request's own class.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final, cast

from taximeter.errors import JournalError, WireError
from taximeter.instrument.asking import body_that_asks
from taximeter.instrument.passage import Asked, Passage, meter_for, not_answered, open_call
from taximeter.meter.call import Call
from taximeter.meter.runtime import Meter, owned, the_meter
from taximeter.wire.injection import UsageRemover

_OK: Final = 200


class _Library:
    """What is needed of a package, httpx or httpx2."""

    def __init__(self, package: str) -> None:
        module: Any = sys.modules[package]
        self.request: Any = module.Request
        self.response: Any = module.Response
        self.byte_stream: Any = module.ByteStream
        self.decoding_error: type[Exception] = module.DecodingError
        self.stream: Any = type("MeteredStream", (_Stream, module.SyncByteStream), {})
        self.async_stream: Any = type("MeteredAsyncStream", (_AsyncStream, module.AsyncByteStream), {})


_libraries: dict[type[Any], _Library] = {}


def _library_of(request: Any) -> _Library:  # noqa: ANN401 - of either package
    kind = cast("type[Any]", type(request))
    found = _libraries.get(kind)
    if found is None:
        base = next(each for each in kind.__mro__ if each.__name__ == "Request")
        found = _libraries[kind] = _Library(base.__module__.partition(".")[0])
    return found


class _Exchange:
    """A call that is under way, and what was changed of its request."""

    __slots__ = ("asked", "call", "library", "meter", "request")

    def __init__(self, meter: Meter, call: Call, request: Any) -> None:  # noqa: ANN401 - of either package
        self.meter = meter
        self.call = call
        self.request = request
        self.library = _library_of(request)
        self.asked = False

    def ask(self, asked: Asked) -> None:
        """Has the answer state its usage, where that is called for."""
        body = body_that_asks(self.meter, self.call, asked)
        if body is not None:
            self.request = self._asking(self.request, body)
            self.asked = True

    def _asking(self, request: Any, body: bytes) -> Any:  # noqa: ANN401 - of either package
        """A request with another body, which leaves in the place of the application's; that one stays as it is."""
        changed = {b"content-length": b"%d" % len(body), b"accept-encoding": b"identity"}
        made = self.library.request(
            request.method,
            request.url,
            headers=[(name, changed.get(name.lower(), value)) for name, value in request.headers.raw],
            stream=self.library.byte_stream(body),
            extensions=request.extensions,
        )
        made.headers.setdefault("accept-encoding", "identity")
        made.read()
        return made

    def answered(self, response: Any, *, waits: bool) -> Any:  # noqa: ANN401 - of either package
        """The head of the answer has come: from here on its body is read with the application.

        Args:
            response: of the transport; most often the same is returned.
            waits: whether the body comes asynchronously.
        """
        try:
            headers = response.headers
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw]
            passage = Passage(self.call, response.status_code, pairs)
            remover = self._remover(response) if self.asked else None
            if isinstance(response.stream, self.library.byte_stream):
                return self._whole(response, passage, remover)
            kind = self.library.async_stream if waits else self.library.stream
            response.stream = kind(response.stream, passage, remover, self.library.decoding_error)
        except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
            self.meter.failed("hook", error, self.call.id)
        return response

    def _remover(self, response: Any) -> UsageRemover | None:  # noqa: ANN401 - of either package
        headers = response.headers
        if response.status_code != _OK or "event-stream" not in headers.get("content-type", ""):
            return None
        try:
            remover = UsageRemover(headers.get("content-encoding"))
        except WireError:
            return None  # encoded in a way that we cannot undo, although we asked for none
        for name in ("content-encoding", "content-length"):
            if name in headers:
                del headers[name]
        return remover

    def _whole(self, response: Any, passage: Passage, remover: UsageRemover | None) -> Any:  # noqa: ANN401
        """A transport that is none (a mock) has the whole body at once, and it is never read as a stream."""
        body = b"".join(response.stream)
        passage.feed(body)
        passage.ended()
        if remover is None:
            return response
        return self.library.response(
            response.status_code,
            headers=response.headers,
            stream=self.library.byte_stream(remover.feed(body) + remover.close()),
            extensions=response.extensions,
        )


class _Metered:
    """The body of an answer, read with the application: the very bytes as they come, but for usage to be taken out."""

    def __init__(
        self,
        inner: Any,  # noqa: ANN401 - of either package
        passage: Passage,
        remover: UsageRemover | None,
        decoding_error: type[Exception],
    ) -> None:
        self._inner = inner
        self._passage = passage
        self._remover = remover
        self._decoding_error = decoding_error

    def _edited(self, remover: UsageRemover, chunk: bytes) -> bytes:
        try:
            return remover.feed(chunk)
        except WireError as error:
            raise self._decoding_error(str(error)) from error

    @staticmethod
    def _rest(remover: UsageRemover) -> bytes:
        with suppress(WireError):  # whoever reads on has been told
            return remover.close()
        return b""


class _Stream(_Metered):
    """The body of a synchronous answer."""

    def __iter__(self) -> Iterator[bytes]:
        return self._as_it_comes() if self._remover is None else self._without_usage(self._remover)

    def _as_it_comes(self) -> Iterator[bytes]:
        passage = self._passage
        feed = passage.feed
        chunks = iter(self._inner)
        try:
            for chunk in chunks:
                feed(chunk)
                yield chunk
        except Exception as error:
            passage.broke(error)
            raise
        except BaseException as error:
            passage.broke(error)
            _stop(chunks, error)
            raise
        passage.ended()

    def _without_usage(self, remover: UsageRemover) -> Iterator[bytes]:
        passage = self._passage
        feed = passage.feed
        chunks = iter(self._inner)
        try:
            for chunk in chunks:
                feed(chunk)
                edited = self._edited(remover, chunk)
                if edited:
                    yield edited
        except Exception as error:
            passage.broke(error)
            rest = self._rest(remover)
            if rest:
                yield rest
            raise
        except BaseException as error:
            passage.broke(error)
            _stop(chunks, error)
            raise
        passage.ended()
        rest = self._rest(remover)
        if rest:
            yield rest

    def close(self) -> None:
        """Nobody reads any further."""
        try:
            self._inner.close()
        finally:
            self._passage.left()


def _stop(chunks: Any, error: BaseException) -> None:  # noqa: ANN401 - an iterator of any kind
    """Hands on that nobody reads any further, as ``yield from`` does."""
    stop = getattr(chunks, "close", None)
    if stop is not None and isinstance(error, GeneratorExit):
        stop()


class _AsyncStream(_Metered):
    """The body of an asynchronous answer."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._as_it_comes() if self._remover is None else self._without_usage(self._remover)

    async def _as_it_comes(self) -> AsyncIterator[bytes]:
        passage = self._passage
        feed = passage.feed
        chunks = aiter(self._inner)
        try:
            async for chunk in chunks:
                feed(chunk)
                yield chunk
        except Exception as error:
            passage.broke(error)
            raise
        except BaseException as error:
            passage.broke(error)
            await _stop_async(chunks, error)
            raise
        passage.ended()

    async def _without_usage(self, remover: UsageRemover) -> AsyncIterator[bytes]:
        passage = self._passage
        feed = passage.feed
        chunks = aiter(self._inner)
        try:
            async for chunk in chunks:
                feed(chunk)
                edited = self._edited(remover, chunk)
                if edited:
                    yield edited
        except Exception as error:
            passage.broke(error)
            rest = self._rest(remover)
            if rest:
                yield rest
            raise
        except BaseException as error:
            passage.broke(error)
            await _stop_async(chunks, error)
            raise
        passage.ended()
        rest = self._rest(remover)
        if rest:
            yield rest

    async def aclose(self) -> None:
        """Nobody reads any further."""
        try:
            await self._inner.aclose()
        finally:
            self._passage.left()


async def _stop_async(chunks: Any, error: BaseException) -> None:  # noqa: ANN401 - an iterator of any kind
    """Hands on that nobody reads any further."""
    stop = getattr(chunks, "aclose", None)
    if stop is not None and isinstance(error, GeneratorExit):
        await stop()


# ---- from request to answer


def send(handle: Callable[[Any], Any], request: Any) -> Any:  # noqa: ANN401 - of either package
    """Has a request handled, and meters the call if it is one.

    Args:
        handle: a transport's ``handle_request``.
        request: of httpx or httpx2.

    Raises:
        JournalError: when the call cannot be journaled and the settings say to refuse it then.
    """
    exchange = _begin(request)
    if exchange is None:
        return handle(request)
    token = owned.set(True)
    try:
        response = handle(exchange.request)
    except BaseException as error:
        not_answered(exchange.call, error)
        raise
    finally:
        owned.reset(token)
    return exchange.answered(response, waits=False)


async def send_async(handle: Callable[[Any], Awaitable[Any]], request: Any) -> Any:  # noqa: ANN401 - of either package
    """The same for a transport's ``handle_async_request``."""
    exchange = _begin(request)
    if exchange is None:
        return await handle(request)
    token = owned.set(True)
    try:
        response = await handle(exchange.request)
    except BaseException as error:
        not_answered(exchange.call, error)
        raise
    finally:
        owned.reset(token)
    return exchange.answered(response, waits=True)


def _begin(request: Any) -> _Exchange | None:  # noqa: ANN401 - of either package
    """Opens the call that a request is; ``None`` when it is none of ours.

    What is looked at before the meter says that it may be ours is as little as can be: most traffic is other traffic.
    """
    try:
        url = request.url
        target = url.raw_path.decode("ascii")
        meter = meter_for(target)
        if meter is None:
            return None
        # public as `content`, which raises where the body is a stream
        body: bytes | None = getattr(request, "_content", None)
        asked = Asked(request.method, url.netloc.decode("ascii"), target, request.headers, body)
        call = open_call(meter, asked)
        if call is None:
            return None
        exchange = _Exchange(meter, call, request)
    except JournalError:
        raise
    except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
        the_meter().failed("hook", error)
        return None
    try:
        exchange.ask(asked)
    except Exception as error:  # noqa: BLE001 - as above; the application's own request leaves
        meter.failed("hook", error, call.id)
    return exchange
