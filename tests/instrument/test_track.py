"""``track``: around what no hook sees, and around what one does."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import httpx2
import pytest

import taximeter
from taximeter import track
from taximeter.errors import JournalError, MoneyError, UsageError
from taximeter.event import CallEvent
from taximeter.journal import recover
from taximeter.meter import Meter, configure
from taximeter.meter.sink import StoreSink
from taximeter.money import Money
from taximeter.simulator import Simulator
from taximeter.usage import Usage

CHUNKS = (
    {"object": "chat.completion.chunk", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "Hel"}}]},
    {"object": "chat.completion.chunk", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "lo"}}]},
    {
        "object": "chat.completion.chunk",
        "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32},
    },
)
STREAMED = Usage(input_tokens=30, output_tokens=2)
# 30 × 2.50 + 2 × 10 USD per million
STREAMED_COST = Money.usd("0.000095")


def answer(prompt: int = 1000, completion: int = 10) -> SimpleNamespace:
    """An SDK's answer in a dress of its own."""
    usage = SimpleNamespace(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
    return SimpleNamespace(model="gpt-4o", choices=[], usage=usage)


def ask(provider: Simulator, **more: Any) -> httpx2.Response:
    """A call that a hook sees."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], **more}
    with httpx2.Client(transport=taximeter.Transport(httpx2.HTTPTransport())) as client:
        return client.post(f"{provider.url('openai')}/chat/completions", json=body)


# ---- what is tracked


def test_a_function_gives_the_same_object(events: list[CallEvent]) -> None:
    """The answer of a function is recognised, priced and booked, and handed on as it is."""
    given = answer()
    assert track("summarise", provider="openai", user="u-1")(lambda: given)() is given
    (event,) = events
    assert event.usage == Usage(input_tokens=1000, output_tokens=10)
    assert event.cost == Money.usd("0.0026")  # 1000 × 2.50 + 10 × 10 USD per million
    assert (event.outcome, event.usage_source, event.stream) == ("completed", "reported", False)
    assert (event.scope.operation, event.scope.user, event.response_model) == ("summarise", "u-1", "gpt-4o")


def test_a_bare_decorator_names_the_function(events: list[CallEvent]) -> None:
    """`@track` without words: the operation is the function's name, which it keeps, as it keeps its signature."""

    @track
    def generate(prompt: str, *, model: str) -> object:
        """Generates."""
        return {"model": model, "usage": {"prompt_tokens": len(prompt), "completion_tokens": 1}}

    generate("four", model="mine-7b")
    assert (generate.__name__, generate.__doc__) == ("generate", "Generates.")
    assert str(inspect.signature(generate)) == "(prompt: 'str', *, model: 'str') -> 'object'"
    assert (events[0].scope.operation, events[0].request_model, events[0].provider) == (
        "generate",
        "mine-7b",
        "unknown",
    )
    assert events[0].usage == Usage(input_tokens=4, output_tokens=1)
    assert events[0].cost is None


def test_coroutine_functions(events: list[CallEvent]) -> None:
    """A coroutine function stays one, and so does what stands around one."""

    async def generate() -> object:
        await asyncio.sleep(0)
        return answer()

    class Client:
        async def __call__(self) -> object:
            return await generate()

    for each in (generate, functools.partial(generate), Client()):
        tracked = track("async")(each)
        assert inspect.iscoroutinefunction(tracked)
        asyncio.run(tracked())
    assert isinstance(asyncio.run(_awaited(track("later")(functools.partial(_later, generate)))), SimpleNamespace)
    assert [event.usage for event in events] == [Usage(input_tokens=1000, output_tokens=10)] * 4
    assert [event.scope.operation for event in events] == ["async"] * 3 + ["later"]


def _later(function: Callable[[], Awaitable[object]]) -> Awaitable[object]:
    return function()


async def _awaited(function: Callable[[], Awaitable[object]]) -> object:
    return await function()


def test_generators_pass_every_item_on(events: list[CallEvent]) -> None:
    """A generator function stays one: what it gives, is sent, is thrown and returns passes."""
    sent: list[object] = []

    @track("stream", provider="openai")
    def generate() -> Generator[object, object, str]:
        for chunk in CHUNKS:
            try:
                sent.append((yield chunk))
            except KeyError as error:
                sent.append(error)
        return "done"

    assert inspect.isgeneratorfunction(generate)
    running = generate()
    assert next(running) is CHUNKS[0]
    assert running.send("more") is CHUNKS[1]
    thrown = KeyError("odd")
    assert running.throw(thrown) is CHUNKS[2]
    with pytest.raises(StopIteration) as end:
        next(running)
    assert end.value.value == "done"
    assert sent == ["more", thrown, None]
    (event,) = events
    assert (event.usage, event.cost, event.outcome, event.stream) == (STREAMED, STREAMED_COST, "completed", True)
    assert event.first_token_ms is not None


def test_async_generators_pass_every_item_on(events: list[CallEvent]) -> None:
    """The same for an asynchronous one."""
    sent: list[object] = []

    @track("stream", provider="openai")
    async def generate() -> AsyncGenerator[object, object]:
        for chunk in CHUNKS:
            await asyncio.sleep(0)
            try:
                sent.append((yield chunk))
            except KeyError as error:
                sent.append(error)

    async def read() -> None:
        running = generate()
        assert await anext(running) is CHUNKS[0]
        assert await running.asend("more") is CHUNKS[1]
        assert await running.athrow(KeyError("odd")) is CHUNKS[2]
        with pytest.raises(StopAsyncIteration):
            await anext(running)

    assert inspect.isasyncgenfunction(generate)
    asyncio.run(read())
    assert (events[0].usage, events[0].outcome, len(events)) == (STREAMED, "completed", 1)
    assert sent[0] == "more"


def test_an_abandoned_generator_is_cancelled(events: list[CallEvent]) -> None:
    """Who breaks out of a stream has cancelled the call, and the generator within is closed at once."""
    closed: list[bool] = []

    @track("stream")
    def generate() -> Iterator[object]:
        try:
            yield from CHUNKS
        finally:
            closed.append(True)

    for _ in generate():
        break
    gc.collect()
    assert closed == [True]
    assert (events[0].outcome, events[0].usage, events[0].usage_source) == ("cancelled", None, "unknown")


def test_an_abandoned_async_generator_is_cancelled(events: list[CallEvent]) -> None:
    """The same for an asynchronous one, and for a task that is cancelled."""

    @track("stream")
    async def generate() -> AsyncGenerator[object, object]:
        yield CHUNKS[0]
        await asyncio.sleep(60)

    async def read() -> None:
        running = generate()
        await anext(running)
        await running.aclose()
        task = asyncio.create_task(_drained(generate()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(read())
    assert [event.outcome for event in events] == ["cancelled", "cancelled"]


async def _drained(items: AsyncIterator[object]) -> None:
    async for _ in items:
        pass


def test_a_function_that_returns_a_generator(events: list[CallEvent]) -> None:
    """What it returns is a generator, whose end is the call's; one that nobody reads is a call cancelled."""
    tracked = track("stream", provider="openai")(lambda: (chunk for chunk in CHUNKS))
    running = tracked()
    assert inspect.isgenerator(running)
    assert events == []
    assert list(running) == list(CHUNKS)
    assert events[0].usage == STREAMED
    tracked()
    gc.collect()
    assert events[1].outcome == "cancelled"


def test_a_coroutine_that_is_never_awaited(events: list[CallEvent]) -> None:
    """What was asked for and never awaited was cancelled."""

    async def generate() -> object:
        return answer()

    def later() -> object:
        return generate()

    coroutine = track("never")(later)()
    with pytest.warns(RuntimeWarning, match="generate' was never awaited"):
        del coroutine
    assert [event.outcome for event in events] == ["cancelled"]


class Stream:
    """A stream object, as SDKs have them."""

    def __init__(self) -> None:
        self._chunks = iter(CHUNKS)
        self.closed = False

    def __iter__(self) -> Iterator[object]:
        yield from self._chunks

    def __next__(self) -> object:
        return next(self._chunks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes it."""
        self.closed = True


def test_a_stream_object_stays_the_object_that_it_was(events: list[CallEvent]) -> None:
    """It is watched while it is read; whoever reads it sees no difference."""
    made = Stream()
    given = track("stream", provider="openai")(lambda: made)()
    assert given is made
    assert isinstance(given, Stream)
    assert type(given).__name__ == "Stream"
    assert next(iter(given)) is CHUNKS[0]  # to look at the first is not to let go of the rest
    assert next(given) is CHUNKS[1]
    assert list(given) == [CHUNKS[2]]
    assert (events[0].usage, events[0].outcome) == (STREAMED, "completed")


@pytest.mark.parametrize("how", ["close", "with", "forget"])
def test_a_stream_object_that_is_let_go(how: str, events: list[CallEvent]) -> None:
    """Closed, left or forgotten: the call is cancelled, with what had come."""
    given = track("stream", provider="openai")(Stream)()
    next(given)
    assert events == []
    if how == "close":
        given.close()
    elif how == "with":
        with given:
            pass
    else:
        del given
        gc.collect()
    assert [event.outcome for event in events] == ["cancelled"]


def test_a_stream_object_that_is_read_asynchronously(events: list[CallEvent]) -> None:
    """`async for` is watched as well."""

    class AsyncStream:
        def __init__(self) -> None:
            self._chunks = iter(CHUNKS)

        def __aiter__(self) -> AsyncStream:
            return self

        async def __anext__(self) -> object:
            for chunk in self._chunks:
                return chunk
            raise StopAsyncIteration

    async def create() -> AsyncStream:
        return AsyncStream()

    async def read() -> None:
        async for _ in await track("stream", provider="openai")(create)():
            pass

    asyncio.run(read())
    assert (events[0].usage, events[0].outcome) == (STREAMED, "completed")


def test_containers_are_no_streams(events: list[CallEvent]) -> None:
    """A list, a text or a file that a function gives is left alone; the call's usage is not known."""
    for given in ([1, 2], "text", {"a": 1}, (1,), None, iter([1])):
        assert track("plain")(lambda given=given: given)() is given
    assert {(event.outcome, event.usage, event.usage_source, event.cost) for event in events} == {
        ("completed", None, "unknown", None)
    }
    assert len(events) == 6


# ---- what is said


def test_record_says_what_cannot_be_seen(events: list[CallEvent]) -> None:
    """Usage, model, provider and cost from the application; the cost that it states is the cost."""
    with track("local", project="p") as call:
        call.record(usage={"input_tokens": 12, "output_tokens": 3}, model="mine-7b", provider="local")
        call.record(cost_usd=Decimal("0.00001"))
    (event,) = events
    assert call.event is event
    assert (event.usage, event.usage_source) == (Usage(input_tokens=12, output_tokens=3), "reported")
    assert (event.provider, event.model, event.api) == ("local", "mine-7b", "track")
    assert event.cost == Money.usd("0.00001")
    lines = event.parts[0].cost
    assert lines is not None
    assert lines.total == lines.items[0].amount == event.cost


def test_record_takes_an_sdks_usage(events: list[CallEvent]) -> None:
    """Each provider's usage object means what its wire format says, whatever dress it comes in."""
    openai = SimpleNamespace(prompt_tokens=10, completion_tokens=4, prompt_tokens_details={"cached_tokens": 6})
    anthropic = {"input_tokens": 10, "cache_read_input_tokens": 6, "output_tokens": 4}
    google = SimpleNamespace(prompt_token_count=10, candidates_token_count=3, thoughts_token_count=1)
    bedrock = {"inputTokens": 4, "cacheReadInputTokens": 6, "outputTokens": 4}
    ours = SimpleNamespace(input_tokens=10, cache_read_tokens=6, output_tokens=4, other="x")
    for usage in (openai, anthropic, google, bedrock, ours, Usage(input_tokens=10, cache_read_tokens=6)):
        taximeter.record(usage=usage)
    inclusive = Usage(input_tokens=10, cache_read_tokens=6, output_tokens=4)
    assert [event.usage for event in events] == [
        inclusive,
        Usage(input_tokens=16, cache_read_tokens=6, output_tokens=4),
        Usage(input_tokens=10, output_tokens=4, output_reasoning_tokens=1),
        inclusive,
        inclusive,
        Usage(input_tokens=10, cache_read_tokens=6),
    ]


def test_record_takes_chunks(events: list[CallEvent]) -> None:
    """Within a generator that gives something else, the chunks may be shown: Anthropic's first and last make one."""
    started = {"type": "message_start", "message": {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 7}}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}

    @track("texts")
    def texts() -> Iterator[str]:
        for chunk in (started, ended, {"type": "message_stop"}):
            taximeter.record(chunk)
            yield "text"

    assert list(texts()) == ["text"] * 3
    (event,) = events
    assert (event.usage, event.provider, event.outcome) == (
        Usage(input_tokens=7, output_tokens=5),
        "anthropic",
        "completed",
    )
    # 7 × 3 + 5 × 15 USD per million
    assert event.cost == Money.usd("0.000096")


def test_a_cost_alone(events: list[CallEvent]) -> None:
    """A cost without counts is a cost; listeners hear of it."""
    costs: list[Any] = []
    taximeter.on("cost", costs.append)
    taximeter.record(cost_usd="0.02", provider="voices", model="tts")
    assert (events[0].usage, events[0].cost) == (None, Money.usd("0.02"))
    assert costs[0].cost == Money.usd("0.02")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"cost_usd": 0.1}, MoneyError),
        ({"usage": {"input_tokens": -1}}, UsageError),
        ({"usage": {"tokens": 5}}, TypeError),
        ({"usage": 5}, TypeError),
    ],
)
def test_what_cannot_be_is_refused(said: Any, error: type[Exception], meter: Meter) -> None:
    """A float of money, a negative count, what is no usage: said at once."""
    with track("x") as call:
        with pytest.raises(error):
            call.record(**said)
        call.discard()
    assert meter.failures == {}


def test_discard_books_nothing(events: list[CallEvent], meter: Meter) -> None:
    """An answer from a cache was no call: nothing is booked, and the journal forgets it."""
    with track("cached") as call:
        call.discard()
    assert events == []
    assert call.event is None
    assert meter.flush()


# ---- what fails


def test_a_failed_call_has_an_error_and_no_usage(events: list[CallEvent]) -> None:
    """The application gets the very exception; the call is booked as failed, with unknown usage, never 0."""
    raised = RuntimeError("rate limit")

    @track("chat")
    def fail() -> None:
        raise raised

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert caught.value is raised
    (event,) = events
    assert event.outcome == "failed"
    assert event.error is not None
    assert (event.error.type, event.error.message) == ("RuntimeError", "rate limit")
    assert (event.usage, event.usage_source, event.cost) == (None, "unknown", None)


def test_a_stream_that_breaks_is_interrupted(events: list[CallEvent]) -> None:
    """After the first chunk an exception interrupts the call."""

    @track("stream")
    def generate() -> Iterator[object]:
        yield CHUNKS[0]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(generate())
    assert (events[0].outcome, events[0].usage) == ("interrupted", None)


def test_an_exception_after_the_answer_is_the_applications(events: list[CallEvent]) -> None:
    """The answer was there and is paid for, whatever the application then makes of it."""

    @track("chat")
    def generate() -> None:
        taximeter.record(answer())
        raise KeyError

    with pytest.raises(KeyError):
        generate()
    assert (events[0].outcome, events[0].error) == ("completed", None)
    assert events[0].usage == Usage(input_tokens=1000, output_tokens=10)


def test_ctrl_c_cancels(events: list[CallEvent]) -> None:
    """KeyboardInterrupt is the application's own doing."""
    with pytest.raises(KeyboardInterrupt), track("chat"):
        raise KeyboardInterrupt
    assert (events[0].outcome, events[0].error) == ("cancelled", None)


def test_objects_that_misbehave_are_counted(events: list[CallEvent], meter: Meter) -> None:
    """An object whose methods raise is no trouble to the application; that the meter failed is counted."""

    class Odd:
        usage = 1

        def model_dump(self, **_: object) -> object:
            raise ZeroDivisionError

    odd = Odd()
    assert track("odd")(lambda: odd)() is odd
    assert events[0].usage is None
    assert meter.failures.pop("track") == 1


# ---- one call is booked once


def test_a_hooked_call_inside_is_the_one_booked(provider: Simulator, events: list[CallEvent], meter: Meter) -> None:
    """The hook's event has the wire's figures and the track's operation; track adds none, whatever it sees."""

    @track("outer", project="p")
    def outer() -> object:
        with track("inner", user="u") as call:
            found = ask(provider).json()
            call.record(found)
        return found

    outer()
    (event,) = events
    assert event.status == 200
    assert (event.scope.operation, event.scope.project, event.scope.user) == ("inner", "p", "u")
    assert meter.flush()


def test_a_stream_that_calls_late_is_booked_once(provider: Simulator, events: list[CallEvent]) -> None:
    """The call within a generator happens at its first step; what is thrown away before that is taken back."""

    @track("late")
    def generate() -> Iterator[object]:
        yield ask(provider).json()

    list(generate())
    assert [event.status for event in events] == [200]
    assert events[0].scope.operation == "late"


def test_the_innermost_track_books(events: list[CallEvent]) -> None:
    """Of two tracks without a hook within, the inner one knows more: it books."""
    with track("outer"), track("inner") as call:
        call.record(usage={"input_tokens": 1})
    assert [event.scope.operation for event in events] == ["inner"]


def test_calls_in_threads_and_tasks_count_as_inside(provider: Simulator, events: list[CallEvent]) -> None:
    """A thread that carries the scope, and a task, make their calls within the track."""
    with track("threads"):
        thread = threading.Thread(target=taximeter.carry(lambda: ask(provider)))
        thread.start()
        thread.join()

    async def work() -> None:
        async with track("tasks"):
            await asyncio.create_task(asyncio.to_thread(ask, provider))

    asyncio.run(work())
    assert [(event.status, event.scope.operation) for event in events] == [(200, "threads"), (200, "tasks")]


def test_the_scope_is_in_force_only_while_a_generator_works(events: list[CallEvent]) -> None:
    """Between two items the application is in its own scope; a scope that the generator opened comes back with it."""

    @track("inside")
    def generate() -> Iterator[object]:
        with taximeter.scope(user="u"):
            yield 1
            taximeter.record(usage={"input_tokens": 1})
            with track() as call:
                call.record(usage={"input_tokens": 2})

    running = generate()
    next(running)
    with track("outside") as call:
        call.record(usage={"input_tokens": 3})
    list(running)
    assert [(event.scope.operation, event.scope.user) for event in events] == [("outside", None), ("inside", "u")]


def test_one_tracker_serves_many_tasks(events: list[CallEvent]) -> None:
    """A tracker is made once, and used at once by as many as like."""
    tracker = track("shared")

    async def work(number: int) -> None:
        async with tracker as call:
            await asyncio.sleep(0.001 * (number % 3))
            call.record(usage={"input_tokens": number})

    async def all_of_them() -> None:
        await asyncio.gather(*(work(number) for number in range(20)))

    asyncio.run(all_of_them())
    assert sorted(
        event.usage.input_tokens for event in events if event.usage and event.usage.input_tokens is not None
    ) == list(range(20))


# ---- settings


def test_off_is_off(events: list[CallEvent], tmp_path: Path) -> None:
    """With the meter off nothing is booked, and everything works."""
    configure(enabled=False, store=str(tmp_path / "off.sqlite3"))
    with track("x") as call:
        call.record(usage={"input_tokens": 1})
    assert track("y")(lambda: 5)() == 5
    assert list(track("z")(lambda: (item for item in (1, 2)))()) == [1, 2]
    assert events == []
    assert not (tmp_path / "off.sqlite3").exists()


def test_refused_when_it_cannot_be_journaled(tmp_path: Path) -> None:
    """With `on_meter_failure = refuse` a call that cannot be journaled is not made."""
    (tmp_path / "file").write_bytes(b"")
    meter = configure(
        store=str(tmp_path / "store.sqlite3"), journal=tmp_path / "file" / "journal", on_meter_failure="refuse"
    )
    made: list[int] = []
    with pytest.raises(JournalError):
        track("x")(lambda: made.append(1))()
    assert made == []
    assert meter.failures.pop("journal") == 1
    meter.close()


def test_what_is_booked_is_stored(events: list[CallEvent], meter: Meter, tmp_path: Path) -> None:
    """Every kind of event that track makes reaches the store as it was told."""
    taximeter.record(usage={"input_tokens": 1}, model="m", provider="p", cost_usd="0.5")
    track("plain")(answer)()
    assert meter.flush()
    with taximeter.open_store(str(tmp_path / "store.sqlite3")) as store:
        assert sorted(stored.id for stored in store.events()) == sorted(event.id for event in events)


DIES = """
import os, sys
import httpx2
import taximeter
from taximeter.meter import configure

configure(store=sys.argv[1])
with httpx2.Client(transport=taximeter.Transport(httpx2.HTTPTransport())) as client:
    with taximeter.track("inside"):
        body = {"model": "gpt-4o", "messages": [], "stream": True}
        if sys.argv[2]:
            with client.stream("POST", sys.argv[2] + "/chat/completions", json=body) as response:
                chunks = response.iter_raw()
                next(chunks)
                os.kill(os.getpid(), 9)
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("hooked", [True, False])
def test_a_process_that_dies_within_is_booked_once(*, hooked: bool, provider: Simulator, tmp_path: Path) -> None:
    """What was under way is found as one call of unknown outcome: the hook's, or without one the track's own."""
    url = str(tmp_path / "dead.sqlite3")
    place = provider.url("openai") if hooked else ""
    subprocess.run([sys.executable, "-c", DIES, url, place], check=False)
    meter = configure(store=url)  # which makes no call, and so recovers nothing by itself meanwhile
    recover(meter.journal_folder(), StoreSink(url))
    meter.close()
    with taximeter.open_store(url) as store:
        unknown = [event for event in store.events() if event.outcome == "unknown"]
    assert [(event.api, event.scope.operation) for event in unknown] == [
        ("openai.chat" if hooked else "track", "inside")
    ]
