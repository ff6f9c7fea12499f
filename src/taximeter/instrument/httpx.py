"""The hook of httpx and httpx2: their transports, so that every client is covered, those that there are included.

It patches two methods, and loads what meters when the first request goes through them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from taximeter.instrument.passage import Switch, patch

MODULE: Final = "httpx"
"""And ``httpx2``, which is the same in what is patched."""

Function = Callable[..., Any]

_undo: dict[type, Callable[[], None]] = {}


def install(module: ModuleType) -> None:
    """Hooks the transports of a package, httpx or httpx2, once."""
    for owner, name, around in (
        (module.HTTPTransport, "handle_request", _around),
        (module.AsyncHTTPTransport, "handle_async_request", _around_async),
    ):
        if owner not in _undo:
            _undo[owner] = _put_on(owner, name, around)


def uninstall(module: ModuleType) -> None:
    """Puts back what was there before; what others have put around ours since stays, and ours does nothing then."""
    for owner in (module.HTTPTransport, module.AsyncHTTPTransport):
        undo = _undo.pop(owner, None)
        if undo is not None:
            undo()


def _put_on(owner: type, name: str, around: Callable[[Switch, Function], Function]) -> Callable[[], None]:
    switch = Switch()
    put_back = patch(owner, name, lambda original: around(switch, original))

    def undo() -> None:
        switch.off()
        put_back()

    return undo


class _Meter:
    """What meters; loads itself when it is first used."""

    @staticmethod
    def send(handle: Function, request: Any) -> Any:  # noqa: ANN401 - of either package
        _load()
        return _Meter.send(handle, request)

    @staticmethod
    async def send_async(handle: Function, request: Any) -> Any:  # noqa: ANN401 - of either package
        _load()
        return await _Meter.send_async(handle, request)


def _load() -> None:
    from taximeter.instrument.exchange import send, send_async  # noqa: PLC0415 - heavy; the first request loads it

    _Meter.send = staticmethod(send)
    _Meter.send_async = staticmethod(send_async)


def _around(switch: Switch, original: Function) -> Function:
    def handle_request(self: Any, request: Any) -> Any:  # noqa: ANN401 - of either package
        handle = original.__get__(self)
        return _Meter.send(handle, request) if switch.on else handle(request)

    return handle_request


def _around_async(switch: Switch, original: Function) -> Function:
    async def handle_async_request(self: Any, request: Any) -> Any:  # noqa: ANN401 - of either package
        handle = original.__get__(self)
        return await (_Meter.send_async(handle, request) if switch.on else handle(request))

    return handle_async_request
