"""Generators and streams passed on as they are, item by item, with the tracked scope in force only while they work."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from taximeter.instrument.tracked import Tracked

_Item = TypeVar("_Item")
_Sent = TypeVar("_Sent")
_Result = TypeVar("_Result")

_ATTRIBUTE = "_taximeter_tracked"


async def awaited(run: Tracked, work: Awaitable[_Result], handled: Callable[[Tracked, _Result], _Result]) -> _Result:
    """What is awaited, and then handed to ``handled``."""
    run.awaited = True
    try:
        with run.within():
            result = await work
    except BaseException as error:
        run.raised(error)
        raise
    return handled(run, result)


def generated(
    run: Tracked, inner: Generator[_Item, _Sent, _Result], *, whole: bool = True
) -> Generator[_Item, _Sent, _Result]:
    """The same items, exceptions and result; what is sent and thrown goes to ``inner``.

    Args:
        run: what it is a run of.
        inner: the generator.
        whole: with the generator the run is over; it is not, where an object may be asked for another one.
    """
    return (yield from cast("Generator[_Item, _Sent, _Result]", _Steps(run, inner, whole=whole)))


class _Steps(Generator[Any, Any, Any]):
    def __init__(self, run: Tracked, inner: Generator[Any, Any, Any], *, whole: bool) -> None:
        self._run = run
        self._inner = inner
        self._whole = whole

    def send(self, value: Any, /) -> Any:  # noqa: ANN401 - a generator of anything
        return _step(self._run, self._inner.send, value)

    def throw(self, *thrown: Any) -> Any:  # noqa: ANN401 - as above
        return _step(self._run, self._inner.throw, *thrown)

    def close(self) -> None:
        try:
            with self._run.within():
                self._inner.close()
        finally:
            if self._whole:
                self._run.abandoned()


def _step(run: Tracked, act: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - as above
    try:
        with run.within():
            item = act(*arguments)
    except StopIteration as end:
        if end.value is not None:
            run.gave(end.value)
        run.ended()
        raise
    except BaseException as error:
        run.raised(error)
        raise
    run.streamed(item)
    return item


def generated_async(
    run: Tracked, inner: AsyncGenerator[_Item, _Sent], *, whole: bool = True
) -> AsyncGenerator[_Item, _Sent]:
    """As :func:`generated`."""
    return async_generator(lambda: (run, inner), whole=whole)()


def async_generator(
    start: Callable[..., tuple[Tracked, AsyncGenerator[_Item, _Sent]]], *, whole: bool = True
) -> Callable[..., AsyncGenerator[_Item, _Sent]]:
    """The function whose generators pass on what ``start`` gives; it is called when the first item is asked for."""

    async def tracked(*arguments: object, **named: object) -> AsyncGenerator[_Item, _Sent]:
        run, inner = start(*arguments, **named)
        act: Awaitable[_Item] = inner.__anext__()
        while True:
            try:
                item = await _step_async(run, act)
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                try:
                    with run.within():
                        await inner.aclose()
                finally:
                    if whole:
                        run.abandoned()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever was thrown in goes where it was meant to
                act = inner.athrow(error)
            else:
                act = inner.asend(sent)

    return tracked


async def _step_async(run: Tracked, act: Awaitable[_Item]) -> _Item:
    try:
        with run.within():
            item = await act
    except StopAsyncIteration:
        run.ended()
        raise
    except BaseException as error:
        run.raised(error)
        raise
    run.streamed(item)
    return item


def when_forgotten(held: object, tell: Callable[[], None]) -> None:
    """Tells when the application has forgotten what it holds of a run; not at the end of the process."""
    weakref.finalize(held, tell).atexit = False


# ---- objects that are streams


def is_stream(value: object) -> bool:
    """Whether an object gives its items one by one, when it is asked to, and is no container of them."""
    kind = type(value)
    if isinstance(value, (Iterator, AsyncIterator)):
        return True
    contained = hasattr(kind, "__len__") or hasattr(kind, "__getitem__") or hasattr(kind, "model_dump")
    return not contained and (hasattr(kind, "__iter__") or hasattr(kind, "__aiter__"))


def watch(run: Tracked, stream: object) -> bool:
    """Has a stream object tell what it gives, and leaves it the object that it was; whether that can be done.

    Its class becomes one that differs in nothing but this. Objects of built-in kinds do not allow it.
    """
    if not hasattr(stream, "__dict__"):
        return False
    try:
        object.__setattr__(stream, _ATTRIBUTE, run)
        object.__setattr__(stream, "__class__", _watched(type(stream)))
        when_forgotten(stream, run.abandoned)
    except (TypeError, AttributeError):
        return False
    return True


@cache
def _watched(kind: type) -> type:
    """The class of streams of a kind that are watched."""
    methods: dict[str, object] = {
        name: make(getattr(kind, name)) for name, make in _METHODS.items() if hasattr(kind, name)
    }
    said = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind)(kind.__name__, (kind,), said | methods)


def _run_of(stream: object) -> Tracked:
    return getattr(stream, _ATTRIBUTE)


def _next(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def __next__(self: object) -> object:  # noqa: N807 - takes its place
        return _step(_run_of(self), method, self)

    return __next__


def _iter(method: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    def __iter__(self: object) -> Iterator[Any]:  # noqa: N807 - as above
        run = _run_of(self)
        with run.within():
            inner = method(self)
        if inner is self or not isinstance(inner, Generator):
            return inner
        return generated(run, cast("Generator[Any, Any, Any]", inner), whole=False)

    return __iter__


def _anext(method: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    async def __anext__(self: object) -> object:  # noqa: N807 - as above
        return await _step_async(_run_of(self), method(self))

    return __anext__


def _aiter(method: Callable[[Any], AsyncIterator[Any]]) -> Callable[[Any], AsyncIterator[Any]]:
    def __aiter__(self: object) -> AsyncIterator[Any]:  # noqa: N807 - as above
        run = _run_of(self)
        with run.within():
            inner = method(self)
        if inner is self or not isinstance(inner, AsyncGenerator):
            return inner
        return generated_async(run, cast("AsyncGenerator[Any, Any]", inner), whole=False)

    return __aiter__


def _close(method: Callable[..., Any]) -> Callable[..., Any]:
    def close(self: object, *arguments: object, **named: object) -> object:
        run = _run_of(self)
        try:
            with run.within():
                return method(self, *arguments, **named)
        finally:
            run.abandoned()

    return close


def _aclose(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def aclose(self: object, *arguments: object, **named: object) -> object:
        run = _run_of(self)
        try:
            with run.within():
                return await method(self, *arguments, **named)
        finally:
            run.abandoned()

    return aclose


def _either_close(method: Callable[..., Any]) -> Callable[..., Any]:
    return _aclose(method) if inspect.iscoroutinefunction(method) else _close(method)


_METHODS: dict[str, Callable[[Any], object]] = {
    "__next__": _next,
    "__iter__": _iter,
    "__anext__": _anext,
    "__aiter__": _aiter,
    "__exit__": _close,
    "__aexit__": _aclose,
    "close": _either_close,
    "aclose": _aclose,
}
