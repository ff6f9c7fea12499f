"""What an application's tools took, measured where they run, on its way to the call that carries their results.

A request that answers a tool call tells when it left; what the tool itself took is only known to who ran it. So a run
is kept by the context that it happened in until the next call of that context leaves, and goes into the books with it:
:attr:`taximeter.event.CallEvent.tool_results`. A run of the same name, or id, takes the place of what the wire shows
of it; one that the wire does not show stands beside it, under an id of its own.

Every call that leaves begins a new list, which the tasks that run the tools of its answer inherit: conversations that
go on side by side do not see each other's.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import msgspec

from taximeter.event import ToolResult
from taximeter.meter.scope import new_id

MOST_RUNS: Final = 256
"""Runs kept for a call that is to come; the oldest go first."""

_NO_CONVERSATION: Final = frozenset({
    "openai.embeddings", "openai.images", "openai.transcriptions", "openai.speech", "cohere.embed", "gemini.embed",
    "vertex.predict", "rerank", "mistral.ocr",
})  # fmt: skip
"""Formats that no tool's result goes back to a model in."""


class ToolRun(msgspec.Struct, frozen=True):
    """One run of a tool.

    Attributes:
        name: the tool.
        duration_ms: what it took, by itself.
        failed: whether it raised.
        result_bytes: length of what it gave, in bytes of UTF-8, where that was text or bytes.
        id: of the tool call that it answers, where the application says so.
    """

    name: str
    duration_ms: int
    failed: bool
    result_bytes: int = 0
    id: str | None = None


_runs: ContextVar[list[ToolRun] | None] = ContextVar("taximeter_tool_runs", default=None)


def ran(run: ToolRun) -> None:
    """Keeps a run for the next call that is made here, or in the task that this one was started from."""
    runs = _runs.get()
    if runs is None:
        runs = list[ToolRun]()
        _runs.set(runs)
    runs.append(run)
    if len(runs) > MOST_RUNS:
        del runs[0]


@contextmanager
def running() -> Generator[None]:
    """Within a tool: the calls that it makes itself carry the runs of its own tools alone."""
    token = _runs.set([])
    try:
        yield
    finally:
        try:
            _runs.reset(token)
        except ValueError:  # closed from another context than it began in, which then has nothing to put back
            _runs.set(None)


def with_runs(results: tuple[ToolResult, ...], api: str) -> tuple[ToolResult, ...]:
    """The results that a call carries, with what is known of their runs; what was kept is used up."""
    if not results and api in _NO_CONVERSATION:
        return results
    runs = _runs.get()
    _runs.set([])
    if not runs:
        return results
    left = list(runs)
    measured = [_measured(result, left) for result in results]
    return (*measured, *(_alone(run) for run in left))


def _measured(result: ToolResult, runs: list[ToolRun]) -> ToolResult:
    """A result with the figures of its run, which is taken out of ``runs``."""
    place = next((place for place, run in enumerate(runs) if run.id == result.id), None)
    if place is None:
        place = next((place for place, run in enumerate(runs) if run.id is None and run.name == result.name), None)
    if place is None:
        return result
    run = runs.pop(place)
    return msgspec.structs.replace(
        result, name=result.name or run.name, duration_ms=run.duration_ms, failed=run.failed or bool(result.failed)
    )


def _alone(run: ToolRun) -> ToolResult:
    return ToolResult(run.id or new_id(), run.name, run.duration_ms, run.failed, run.result_bytes)
