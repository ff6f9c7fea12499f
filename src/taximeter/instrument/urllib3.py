"""The hook of urllib3 2.x, and through it of requests, botocore and everything else that stands on it.

Every request that really leaves goes through ``HTTPConnectionPool._make_request``: each retry and each redirect that
``urlopen`` makes is a call of its own. The answer's body is seen where the response takes it off the wire, before it is
decoded (``_raw_read``, and ``_handle_chunk`` for chunked streams), by giving the response of a metered call, and no
other, a class that looks on.

A stream that does not ask for its usage is made to where :mod:`taximeter.wire.injection` says that it may be: in what
leaves, not in what urllib3 keeps, so each retry and each redirect is decided anew. What this adds to the answer is
taken out again below the response, on its way in from the connection (``edited.py``).
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable, Generator, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from taximeter.errors import WireError
from taximeter.instrument.passage import Asked, Passage, Switch, meter_for, not_answered, open_call, patch

if TYPE_CHECKING:
    from taximeter.meter.call import Call
    from taximeter.meter.runtime import Meter
    from taximeter.wire.injection import UsageRemover

MODULE: Final = "urllib3"
"""The module to wait for."""

_log = logging.getLogger("taximeter")
_PORTS: Final = {"http": 80, "https": 443}
_OK: Final = 200
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
    _undo.append(patch(module.HTTPConnectionPool, "_make_request", partial(_metering, switch, module.exceptions)))


def uninstall(module: Any) -> None:  # noqa: ANN401, ARG001 - as above; the same for every library
    """Puts back what was there before."""
    while _undo:
        _undo.pop()()


class _UnderWay(NamedTuple):
    """A call whose request is about to leave.

    Attributes:
        asks_usage: whether the request was made to ask for usage.
    """

    meter: Meter
    call: Call
    asks_usage: bool


def _metering(switch: Switch, exceptions: Any, original: Callable[..., Any]) -> Callable[..., Any]:  # noqa: ANN401
    def _make_request(pool: Any, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        meter = meter_for(url) if switch.on else None
        under_way = None if meter is None else _begin(meter, pool, method, url, kwargs)
        if under_way is None:
            return original(pool, conn, method, url, *args, **kwargs)
        # the body is to be seen, so it must not be read before the response is ours; it is read below instead
        preload = kwargs.get("preload_content", True)
        kwargs["preload_content"] = False
        try:
            response = original(pool, conn, method, url, *args, **kwargs)
        except BaseException as error:
            not_answered(under_way.call, error)
            raise
        try:
            _watch(response, under_way, exceptions)
        except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
            under_way.meter.failed("hook", error, under_way.call.id)
        if preload and hasattr(response, "_raw_read"):
            _preload(response, decode_content=kwargs.get("decode_content", True))
        return response

    return _make_request


def _begin(meter: Meter, pool: Any, method: str, url: str, said: dict[str, Any]) -> _UnderWay | None:  # noqa: ANN401
    """Opens the call that a request is, if it is one, and has it ask for its usage where that is called for.

    Args:
        meter: the meter.
        pool: of connections; it knows the host.
        method: the HTTP method.
        url: as ``_make_request`` is given it.
        said: what ``_make_request`` is given by name; what is to leave in its place is put there.
    """
    try:
        host, target = _place(pool, url)
        asked = Asked(
            method, host, target, said.get("headers") or {}, _plain(said.get("body")), _attempt(said.get("retries"))
        )
    except Exception as error:  # noqa: BLE001 - as above
        meter.failed("hook", error)
        return None
    call = open_call(meter, asked)
    if call is None:
        return None
    try:
        from taximeter.instrument.asking import body_that_asks  # noqa: PLC0415 - loaded with the meter

        body = body_that_asks(meter, call, asked)
        if body is not None:
            said.update(headers=_asking(asked.headers, body), body=body)
    except Exception as error:  # noqa: BLE001 - as above; the application's own request leaves
        meter.failed("hook", error, call.id)
        body = None
    return _UnderWay(meter, call, asks_usage=body is not None)


def _asking(headers: Any, body: bytes) -> Any:  # noqa: ANN401 - a mapping of any kind
    """The headers of a request that leaves with another body. Who names no encoding is sent as accepting none."""
    changed = headers.copy() if hasattr(headers, "copy") else dict(headers)
    for name in list(changed):
        known = (name.decode("latin-1") if isinstance(name, bytes) else str(name)).lower()
        if known == "content-length":
            changed[name] = str(len(body))
        elif known == "accept-encoding":
            changed[name] = "identity"
    return changed


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


def _watch(response: Any, under_way: _UnderWay, exceptions: Any) -> None:  # noqa: ANN401
    """Looks on at the body from here, and edits it if need be."""
    passage = Passage(under_way.call, response.status, response.headers.items())
    remover = _remover(response) if under_way.asks_usage else None
    if hasattr(response, "_raw_read"):
        if remover is not None:
            _edit(response, passage, remover, exceptions)
        response._taximeter = passage  # noqa: SLF001 - ours
        response.__class__ = _watched(response.__class__)
        return
    whole = getattr(response, "_data", None)  # HTTP/2, where the body has come before the response is made
    if isinstance(whole, bytes):
        passage.feed(whole)
        passage.ended()
        if remover is not None:
            response._data = remover.feed(whole) + remover.close()  # noqa: SLF001 - the library's own
            _drop_headers(response)


def _remover(response: Any) -> UsageRemover | None:  # noqa: ANN401
    """Takes out of a stream what asking for usage put into it."""
    from taximeter.wire.injection import UsageRemover  # noqa: PLC0415 - loaded with the meter

    headers = response.headers
    if response.status != _OK or "event-stream" not in headers.get("content-type", ""):
        return None
    try:
        return UsageRemover(headers.get("content-encoding"))
    except WireError:
        return None  # encoded in a way that we cannot undo, although we asked for none


def _edit(response: Any, passage: Passage, remover: UsageRemover, exceptions: Any) -> None:  # noqa: ANN401
    """Has the response take its body edited, and know nothing of how it came. What came is fed from down there."""
    from taximeter.instrument.edited import Edit, put_under  # noqa: PLC0415 - as above

    source = response._fp  # noqa: SLF001 - the library's own, as below
    if not isinstance(source, http.client.HTTPResponse) or source.isclosed():
        return  # made up by somebody else, or without a body

    def spoilt(error: WireError) -> Exception:
        return exceptions.DecodeError(str(error), error)

    def short(came: int, missing: int) -> None:
        if response.enforce_content_length:
            raise exceptions.IncompleteRead(came, missing)
        passage.ended(cut=True)

    put_under(source, Edit(passage.feed, remover, spoilt, short))
    passage.feed = _told_already
    response.length_remaining = None
    _drop_headers(response)


def _told_already(chunk: bytes) -> None:
    """What the application reads of an edited body is not what came."""


def _drop_headers(response: Any) -> None:  # noqa: ANN401
    for name in ("content-encoding", "content-length"):
        response.headers.discard(name)


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
