"""Metering one client of httpx or httpx2, by a transport that is put around its own."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    _Base = Any  # a transport to the type checker of either package, of which neither need be installed
else:
    _Base = object


class Transport(_Base):
    """Meters the calls of one client; ``httpx.Client(transport=taximeter.Transport(httpx.HTTPTransport()))``.

    Args:
        inner: any transport of httpx or httpx2.
    """

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - of either package
        from taximeter.instrument.exchange import send  # noqa: PLC0415 - heavy; loaded when there is something to meter

        self._inner = inner
        self._send = send

    def handle_request(self, request: Any) -> Any:  # noqa: ANN401 - of either package
        """Sends a request, and meters the call if it is one."""
        return self._send(self._inner.handle_request, request)

    def close(self) -> None:
        """Closes the inner transport."""
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, traceback)


class AsyncTransport(_Base):
    """The same for an asynchronous client.

    Args:
        inner: any asynchronous transport of httpx or httpx2.
    """

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - of either package
        from taximeter.instrument.exchange import send_async  # noqa: PLC0415 - as above

        self._inner = inner
        self._send = send_async

    async def handle_async_request(self, request: Any) -> Any:  # noqa: ANN401 - of either package
        """Sends a request, and meters the call if it is one."""
        return await self._send(self._inner.handle_async_request, request)

    async def aclose(self) -> None:
        """Closes the inner transport."""
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, traceback)
