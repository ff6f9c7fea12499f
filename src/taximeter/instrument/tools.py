"""``tool``: what an application's own tool took, and whether it failed.

The run goes into the books with the next call that leaves here, which carries its result back to the model:
:attr:`taximeter.event.CallEvent.tool_results` has one row per run, with the tool's name, its own duration and whether
it raised. The wire alone shows when an answer came and when the next request left; what lies between is the tool and
whatever else the application did. A run that no later call follows is in no event.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar, cast, overload

_CallableT = TypeVar("_CallableT", bound=Callable[..., Any])


class _Run:
    """One run of a tool."""

    __slots__ = ("_inner", "_started_ns", "_tool", "result_bytes")

    def __init__(self, tool: _Tool) -> None:
        from taximeter.meter.toolruns import running  # noqa: PLC0415 - heavy; decorating loads nothing

        self._tool = tool
        self._inner: AbstractContextManager[None] = running()
        self.result_bytes = 0

    def __enter__(self) -> None:
        self._started_ns = time.monotonic_ns()
        self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from taximeter.meter.runtime import the_meter  # noqa: PLC0415 - as above
        from taximeter.meter.toolruns import ToolRun, ran  # noqa: PLC0415 - as above

        took = (time.monotonic_ns() - self._started_ns) // 1_000_000
        self._inner.__exit__(None, None, None)
        if the_meter().settings.enabled:
            ran(ToolRun(self._tool.name or "", took, error is not None, self.result_bytes, self._tool.call_id))

    def gave(self, result: object) -> None:
        if isinstance(result, str):
            self.result_bytes = len(result) if result.isascii() else len(result.encode("utf-8", "surrogatepass"))
        elif isinstance(result, bytes):
            self.result_bytes = len(result)


_under_way: ContextVar[tuple[_Run, ...]] = ContextVar("taximeter_tools", default=())


class _Tool:
    """What :func:`tool` makes: a decorator, and a context manager, of any number of runs, at once too."""

    def __init__(self, name: str | None, call_id: str | None) -> None:
        self.name = name
        self.call_id = call_id

    def __enter__(self) -> None:
        run = _Run(self)
        _under_way.set((*_under_way.get(), run))
        run.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        *before, run = _under_way.get()
        _under_way.set(tuple(before))
        run.__exit__(kind, error, traceback)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: _CallableT) -> _CallableT:
        """The same function or coroutine function, its runs recorded."""
        named = _Tool(self.name or getattr(function, "__name__", type(function).__name__), self.call_id)

        def run(*arguments: object, **keywords: object) -> object:
            with (ours := _Run(named)):
                result = function(*arguments, **keywords)
                ours.gave(result)
            return result

        async def run_async(*arguments: object, **keywords: object) -> object:
            with (ours := _Run(named)):
                result: object = await function(*arguments, **keywords)
                ours.gave(result)
            return result

        plain = function if inspect.isroutine(function) else type(function).__call__
        wrapper = run_async if inspect.iscoroutinefunction(plain) else run
        return cast("_CallableT", functools.update_wrapper(wrapper, function))


@overload
def tool(name: _CallableT) -> _CallableT: ...


@overload
def tool(name: str | None = None, *, call_id: str | None = None) -> _Tool: ...


def tool(name: str | Callable[..., Any] | None = None, *, call_id: str | None = None) -> _Tool | Callable[..., Any]:
    """Records how long a tool took, and whether it raised.

    ``@tool`` and ``@tool("get_weather")`` on functions and coroutine functions; ``with tool("get_weather"):``,
    ``async`` or not, around anything else. What the function gives and raises passes unchanged.

    Args:
        name: the tool, as the model knows it; by default the function's name. A run is matched by it with the tool
            call that it answers.
        call_id: the id of that tool call, where the application has it and runs one tool several times at once.
    """
    if name is not None and not isinstance(name, str):
        return _Tool(None, None)(name)
    return _Tool(name, call_id)
