"""``track``: a name for what the application does, around anything that calls a model.

Where a call that the hooks see is made within, that call is the one booked, and ``track`` only names it. Where none is
(an SDK with a transport of its own, a local model, a gRPC client), ``track`` books one call from what it sees of it:
an SDK's answer, or the chunks of its stream, recognised by their shape. What cannot be seen, ``call.record`` says.

It is journaled when it begins, like every call, and taken back as soon as a hook further in meters the real one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from taximeter.instrument.stepping import (
    async_generator,
    awaited,
    generated,
    generated_async,
    is_stream,
    watch,
    when_forgotten,
)

if TYPE_CHECKING:
    from taximeter.instrument.tracked import Tracked

_CallableT = TypeVar("_CallableT", bound=Callable[..., Any])
_Result = TypeVar("_Result")

_MODEL_KEYS = ("model", "modelId", "model_id")


class Tracker:
    """What :func:`track` makes: a decorator, and a context manager, of any number of runs, at once too."""

    def __init__(
        self,
        operation: str | None,
        attribution: Mapping[str, str | None],
        tags: Mapping[str, str] | None,
        *,
        provider: str | None,
        model: str | None,
    ) -> None:
        self._operation = operation
        self._attribution = attribution
        self._tags = tags
        self._provider = provider
        self._model = model
        self._under_way: list[Tracked] = []

    # ---- around a stretch of code

    def __enter__(self) -> Tracked:
        run = self._begin(self._operation, {})
        within = run.within()
        within.__enter__()
        self._under_way.append(run)
        run.held = within
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from taximeter.instrument.tracked import innermost  # noqa: PLC0415 - as below

        run = innermost.get()
        if run is None or run not in self._under_way:  # closed from another context than it began in
            run = self._under_way[-1]
        self._under_way.remove(run)
        if run.held is not None:
            run.held.__exit__(kind, error, traceback)
        if error is None:
            run.ended()
        else:
            run.raised(error)

    async def __aenter__(self) -> Tracked:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    # ---- around a callable

    def __call__(self, function: _CallableT) -> _CallableT:
        """The same callable, tracked: a function, a coroutine function, a generator of either kind, an object."""
        operation = self._operation or getattr(function, "__name__", None)
        plain = _code_of(function)

        def begin(named: Mapping[str, object]) -> Tracked:
            return self._begin(operation, named)

        wrap = (
            _generator
            if inspect.isgeneratorfunction(plain)
            else _async_generator
            if inspect.isasyncgenfunction(plain)
            else _coroutine
            if inspect.iscoroutinefunction(plain)
            else _function
        )
        wrapper = wrap(function, begin)
        return cast("_CallableT", functools.update_wrapper(wrapper, function))

    def _begin(self, operation: str | None, named: Mapping[str, object]) -> Tracked:
        from taximeter.instrument.tracked import Tracked  # noqa: PLC0415 - heavy; decorating loads nothing
        from taximeter.meter.scope import scope  # noqa: PLC0415 - as above

        with scope(operation=operation, tags=self._tags, **self._attribution) as inner:
            pass
        asked = next((value for key in _MODEL_KEYS if isinstance(value := named.get(key), str)), self._model)
        return Tracked(inner, provider=self._provider, model=asked)


@overload
def track(operation: _CallableT) -> _CallableT: ...


@overload
def track(
    operation: str | None = None,
    *,
    project: str | None = None,
    session: str | None = None,
    user: str | None = None,
    tags: Mapping[str, str] | None = None,
    provider: str | None = None,
    model: str | None = None,
) -> Tracker: ...


def track(  # noqa: PLR0913 - as above
    operation: str | Callable[..., Any] | None = None,
    *,
    project: str | None = None,
    session: str | None = None,
    user: str | None = None,
    tags: Mapping[str, str] | None = None,
    provider: str | None = None,
    model: str | None = None,
) -> Tracker | Callable[..., Any]:
    """Tracks a call of a model: attributes it, and books it where no hook does.

    As a decorator (``@track``, ``@track("summarise")``) of functions, coroutine functions and generators of both
    kinds; around any callable (``track("summarise")(client.generate)(prompt)``); as a context manager, ``async`` or
    not: ``with track("summarise") as call: …; call.record(usage={"input_tokens": 12, "output_tokens": 3})``.

    What the callable gives and raises is what the application gets, the same objects; a generator is passed on item
    by item. A call that raises is booked as ``failed``, with its error and without usage. A call of which nothing can
    be told is booked with its usage unknown; ``call.discard()`` says that there was none.

    Args:
        operation: what the application is doing; by default the callable's name.
        project: as :func:`taximeter.scope`.
        session: as there.
        user: as there.
        tags: as there.
        provider: who is called, where no hook sees it.
        model: the model asked for, where no hook sees it; a ``model=`` that the callable is given is taken first.
    """
    if operation is not None and not isinstance(operation, str):
        return track()(operation)
    attribution = {"project": project, "session": session, "user": user}
    return Tracker(operation, attribution, tags, provider=provider, model=model)


def record(
    response: object = None,
    *,
    usage: object = None,
    model: str | None = None,
    provider: str | None = None,
    cost_usd: Decimal | int | str | None = None,
) -> None:
    """Says of the innermost tracked call what cannot be seen; see :meth:`Tracked.record`.

    Outside of all, it is a call of its own.
    """
    from taximeter.instrument.tracked import innermost  # noqa: PLC0415 - as above

    run = innermost.get()
    if run is not None:
        run.record(response, usage=usage, model=model, provider=provider, cost_usd=cost_usd)
        return
    with track() as call:
        call.record(response, usage=usage, model=model, provider=provider, cost_usd=cost_usd)


def _code_of(function: Callable[..., Any]) -> object:
    """What tells of which kind a callable is."""
    while isinstance(function, functools.partial):
        function = cast("Callable[..., Any]", function.func)
    known = inspect.isroutine(function) or inspect.isclass(function)
    return cast("object", function if known else type(function).__call__)


_Begin = Callable[[Mapping[str, object]], "Tracked"]


def _function(function: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    def tracked(*arguments: object, **named: object) -> object:
        run = begin(named)
        try:
            with run.within():
                result = function(*arguments, **named)
        except BaseException as error:
            run.raised(error)
            raise
        return _handled(run, result)

    return tracked


def _coroutine(function: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    async def tracked(*arguments: object, **named: object) -> object:
        return await awaited(begin(named), function(*arguments, **named), _handled)

    return tracked


def _generator(function: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    def tracked(*arguments: object, **named: object) -> Generator[Any, Any, Any]:
        return (yield from generated(begin(named), function(*arguments, **named)))

    return tracked


def _async_generator(function: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    return async_generator(lambda *arguments, **named: (begin(named), function(*arguments, **named)))


def _handled(run: Tracked, result: _Result) -> _Result:
    """What a call gave: looked at, or watched while it is used, and handed on."""
    if not run.watching:
        return result
    wrapped: object = None
    forgotten = run.abandoned
    if inspect.isgenerator(result):
        wrapped = generated(run, cast("Generator[Any, Any, Any]", result))
    elif inspect.isasyncgen(result):
        wrapped = generated_async(run, cast("AsyncGenerator[Any, Any]", result))
    elif inspect.iscoroutine(result):
        wrapped, forgotten = _awaited_later(run, result)
    if wrapped is not None:
        when_forgotten(wrapped, forgotten)
        return cast("_Result", wrapped)
    if not (is_stream(result) and watch(run, result)):
        run.gave(result)
        run.ended()
    return result


def _awaited_later(run: Tracked, inner: Coroutine[Any, Any, _Result]) -> tuple[object, Callable[[], None]]:
    """A coroutine in place of another, under its name, and what to do when it was forgotten unawaited."""
    outer = awaited(run, inner, _handled)
    outer.__name__, outer.__qualname__ = inner.__name__, inner.__qualname__

    def forgotten() -> None:
        if not run.awaited:
            inner.close()
            run.abandoned()

    return outer, forgotten
