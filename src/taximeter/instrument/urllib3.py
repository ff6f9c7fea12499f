"""The hook of urllib3 2.x, and through it of requests, botocore and everything else that stands on it.

Every request that really leaves goes through ``HTTPConnectionPool._make_request``: each retry and each redirect that
``urlopen`` makes is a call of its own. The answer's body is seen where the response takes it off the wire, before it is
decoded (``_raw_read``, and ``_handle_chunk`` for chunked streams), by giving the response of a metered call, and no
other, a class that looks on.

Streams are not made to state their usage here: what urllib3 reads it counts, and a body that was edited would not add
up. Request bodies are never changed, so what is signed stays signed.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable, Generator, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, cast

from taximeter.instrument.passage import Asked, Passage, Switch, meter_for, not_answered, open_call, patch

if TYPE_CHECKING:
    from taximeter.meter.call import Call
    from taximeter.meter.runtime import Meter

MODULE: Final = "urllib3"
"""The module to wait for."""

_log = logging.getLogger("taximeter")
_PORTS: Final = {"http": 80, "https": 443}
_undo: list[Callable[[], None]] = []


def install(module: Any) -> None:  # noqa: ANN401 - the library need not be here when types are checked
    """Hooks the library, once."""
    if _undo:
        return
    version = str(getattr(module, "__version__", ""))
    if version.startswith(("0.", "1.")):
        _log.warning("urllib3 %s is not metered: only 2.0 and later are", version)
        return
    switch = Switch()
    _undo.append(switch.off)
    _undo.append(patch(module.HTTPConnectionPool, "_make_request", partial(_metering, switch)))


def uninstall(module: Any) -> None:  # noqa: ANN401, ARG001 - as above; the same for every library
    """Puts back what was there before."""
    while _undo:
        _undo.pop()()


def _metering(switch: Switch, original: Callable[..., Any]) -> Callable[..., Any]:
    def _make_request(pool: Any, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        meter = meter_for(url) if switch.on else None
        call = None if meter is None else _opened(meter, pool, method, url, kwargs)
        if meter is None or call is None:
            return original(pool, conn, method, url, *args, **kwargs)
        # the body is to be seen, so it must not be read before the response is ours; it is read below instead
        preload = kwargs.get("preload_content", True)
        kwargs["preload_content"] = False
        try:
            response = original(pool, conn, method, url, *args, **kwargs)
        except BaseException as error:
            not_answered(call, error)
            raise
        try:
            _watch(response, Passage(call, response.status, response.headers.items()))
        except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
            meter.failed("hook", error, call.id)
        if preload and hasattr(response, "_raw_read"):
            _preload(response, decode_content=kwargs.get("decode_content", True))
        return response

    return _make_request


def _opened(meter: Meter, pool: Any, method: str, url: str, said: dict[str, Any]) -> Call | None:  # noqa: ANN401
    """The call that a request is, if it is one. ``said``: what ``_make_request`` is given by name."""
    try:
        host, target = _place(pool, url)
        asked = Asked(
            method, host, target, said.get("headers") or {}, _plain(said.get("body")), _attempt(said.get("retries"))
        )
    except Exception as error:  # noqa: BLE001 - as above
        meter.failed("hook", error)
        return None
    return open_call(meter, asked)


def _place(pool: Any, url: str) -> tuple[str, str]:  # noqa: ANN401
    """The host and target that a request is for; through a forwarding proxy the URL is absolute."""
    if not url.startswith("/"):
        authority, slash, path = url.partition("://")[2].partition("/")
        return authority.rpartition("@")[2], slash + path
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    port = pool.port
    return host if port is None or port == _PORTS.get(pool.scheme) else f"{host}:{port}", url


def _plain(body: object) -> bytes | None:
    """A body that is there as a whole; files, iterators and forms are left alone."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return bytes(cast("bytearray", body)) if isinstance(body, bytearray | memoryview) else None


def _attempt(retries: Any) -> int:  # noqa: ANN401
    """Which try this is, by the retries that urllib3 itself has made; it counts redirects among them."""
    history = getattr(retries, "history", ())
    return 1 + sum(not past.redirect_location for past in history)


def _watch(response: Any, passage: Passage) -> None:  # noqa: ANN401
    """Looks on at the body from here."""
    if hasattr(response, "_raw_read"):
        response._taximeter = passage  # noqa: SLF001 - ours
        response.__class__ = _watched(response.__class__)
        return
    whole = getattr(response, "_data", None)  # HTTP/2, where the body has come before the response is made
    if isinstance(whole, bytes):
        passage.feed(whole)
        passage.ended()


def _preload(response: Any, *, decode_content: bool) -> None:  # noqa: ANN401
    """Reads the body as the response's constructor would have, which does not know pool and connection yet."""
    pool, connection = response._pool, response._connection  # noqa: SLF001 - the library's own, as below
    response._pool = response._connection = None  # noqa: SLF001
    try:
        response._body = response.read(decode_content=decode_content)  # noqa: SLF001
    finally:
        response._pool, response._connection = pool, connection  # noqa: SLF001


@cache
def _watched(kind: Any) -> Any:  # noqa: ANN401, C901 - a class of small methods
    """The class of a response, with somebody looking on at what it reads."""

    class Watched(kind):
        _taximeter: Passage

        def _raw_read(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            passage = self._taximeter
            try:
                data: bytes = kind._raw_read(self, *args, **kwargs)  # noqa: SLF001 - the library's own
            except BaseException as error:
                _broke(passage, error)
                raise
            if data:
                passage.feed(data)
            if self._fp is None or self._fp.isclosed():
                passage.ended(cut=bool(self.length_remaining))
            return data

        def _handle_chunk(self, amt: int | None) -> Any:  # noqa: ANN401
            data: bytes = kind._handle_chunk(self, amt)  # noqa: SLF001 - as above
            self._taximeter.feed(data)
            return data

        def read_chunked(self, *args: Any, **kwargs: Any) -> Generator[bytes]:  # noqa: ANN401
            passage = self._taximeter
            try:
                yield from kind.read_chunked(self, *args, **kwargs)
            except BaseException as error:
                _broke(passage, error)
                raise
            if self._fp is None or self._fp.isclosed():
                passage.ended()

        def close(self) -> None:
            try:
                kind.close(self)
            finally:
                self._taximeter.left()

    for kept in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Watched, kept, getattr(kind, kept))
    return Watched


def _broke(passage: Passage, error: BaseException) -> None:
    """The body broke off: what came of it before is told first, where the error has it."""
    for piece in _pieces(error):
        passage.feed(piece)
    passage.broke(error)


def _pieces(error: BaseException | None) -> Iterator[bytes]:
    """Bytes that came off the wire and were lost in an error: those that were whole, then the last of them."""
    while error is not None:
        if isinstance(error, http.client.IncompleteRead):
            came = cast("bytes | int", error.partial)  # urllib3's own kind has how many they were
            if isinstance(came, bytes):
                yield came
        error = error.__cause__
