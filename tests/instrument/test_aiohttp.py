"""aiohttp: the application sees what it would see without us, and every request that leaves is booked once."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from taximeter.errors import JournalError
from taximeter.event import CallEvent
from taximeter.instrument import aiohttp as hook
from taximeter.instrument import endpoint
from taximeter.meter import Meter, configure
from taximeter.meter.runtime import owned
from taximeter.testing import Simulator
from tests.instrument.asks import ASKING, JSON, STREAM, WHOLE, agree, packed, simulate, steady

pytestmark = pytest.mark.needs("aiohttp")

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def aiohttp(meter: Meter) -> Iterator[Any]:
    """The package, hooked."""
    package: Any = import_module("aiohttp")

    hook.install(package)
    yield package
    hook.uninstall(package)
    gc.collect()
    assert not meter.failures


@pytest.fixture
def url(provider: Simulator) -> str:
    """Where Chat Completions are."""
    return provider.url("openai") + "/chat/completions"


@asynccontextmanager
async def asking(aiohttp: Any, url: str, body: object = None, knobs: str = "", **options: Any) -> AsyncGenerator[Any]:
    """An answer, within a session of its own."""
    sent = packed(WHOLE if body is None else body) if body is None or isinstance(body, dict) else body
    timeout = options.pop("timeout", aiohttp.ClientTimeout(total=10))
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=sent, headers=simulate(knobs), timeout=timeout, **options) as answer,
    ):
        yield answer


async def by_read(answer: Any) -> list[bytes]:
    """The body at once."""
    return [await answer.read()]


async def by_any(answer: Any) -> list[bytes]:
    """The body as it is there."""
    return [chunk async for chunk in answer.content.iter_any()]


async def by_chunked(answer: Any) -> list[bytes]:
    """The body in pieces of 100 bytes at most."""
    return [chunk async for chunk in answer.content.iter_chunked(100)]


async def by_chunks(answer: Any) -> list[bytes]:
    """The body as HTTP cut it."""
    return [chunk async for chunk, _ in answer.content.iter_chunks()]


async def by_line(answer: Any) -> list[bytes]:
    """The body line by line."""
    return [line async for line in answer.content]


async def by_readexactly(answer: Any) -> list[bytes]:
    """The body in pieces of exactly 7 bytes."""
    pieces: list[bytes] = []
    while True:
        try:
            pieces.append(await answer.content.readexactly(7))
        except asyncio.IncompleteReadError as rest:
            return [*pieces, rest.partial]


# ---- the very bytes


async def seen(aiohttp: Any, url: str, body: dict[str, Any], knobs: str, **options: Any) -> list[object]:
    """All that an application can see of a call; how the network cuts a body is no part of it."""
    try:
        async with asking(aiohttp, url, body, knobs, **options) as answer:
            head = (answer.status, steady(answer.headers.items()), repr(type(answer.content)))
            whole = b"".join(await by_any(answer))
            return [head, whole, answer.content.at_eof(), answer.content.total_bytes, answer.closed]
    except aiohttp.ClientError as error:
        return [type(error), str(error), type(error.__cause__)]


@pytest.mark.parametrize("knobs", ["", "gzip", "br", "deflate", "bytewise", "429", "drop=3", "no-head", "no-usage"])
@pytest.mark.parametrize("body", [WHOLE, ASKING])
def test_the_application_sees_the_same(  # noqa: PLR0913, PLR0917 - what differs, each by itself
    aiohttp: Any, url: str, provider: Simulator, events: list[CallEvent], body: dict[str, Any], knobs: str
) -> None:
    """Status, headers, body and error, with the hook and without; and the call is booked."""
    for decompress in (True, False):
        provider.forget()
        events.clear()
        hook.uninstall(aiohttp)
        without = asyncio.run(seen(aiohttp, url, body, knobs, auto_decompress=decompress))
        hook.install(aiohttp)
        assert asyncio.run(seen(aiohttp, url, body, knobs, auto_decompress=decompress)) == without
        assert len(events) == 1
        served = provider.wait_served(2)[1]
        assert agree(events[0], served) or (knobs == "no-head" and events[0].status is None and served.status == 0)


@pytest.mark.parametrize("read", [by_read, by_any, by_chunked, by_chunks, by_line, by_readexactly])
def test_every_way_to_read(
    aiohttp: Any,
    url: str,
    provider: Simulator,
    events: list[CallEvent],
    read: Callable[[Any], Awaitable[list[bytes]]],
) -> None:
    """However the body is read, the same bytes come, and all of them are counted."""

    async def main() -> None:
        for body, knobs in product((WHOLE, ASKING), ("", "gzip")):
            provider.forget()
            token = owned.set(True)
            async with asking(aiohttp, url, body, knobs) as answer:
                plain = await answer.read()
            owned.reset(token)
            assert not events
            async with asking(aiohttp, url, body, knobs) as answer:
                assert b"".join(await read(answer)) == plain
            assert [(event.outcome, event.usage_source) for event in events] == [("completed", "reported")]
            assert agree(events.pop(), provider.wait_served(2)[1])

    asyncio.run(main())


def test_connections_are_kept(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """A connection is used again, and each call on it is read by itself."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            for body in (WHOLE, ASKING, WHOLE):
                async with session.post(url, data=packed(body), headers=JSON) as answer:
                    await answer.read()
            assert len(session.connector._conns) == 1

    asyncio.run(main())
    assert [(event.outcome, event.stream) for event in events] == [
        ("completed", False),
        ("completed", True),
        ("completed", False),
    ]


# ---- how calls end


def test_break_out_of_a_stream(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """Who breaks off a stream has cancelled the call, and its usage is no guess called a report."""

    async def main() -> None:
        async with asking(aiohttp, url, ASKING, "stall=20") as answer:
            async for _ in answer.content:
                break

    asyncio.run(main())
    assert [(event.outcome, event.status) for event in events] == [("cancelled", 200)]
    assert events[0].usage_source in {"unknown", "estimated"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # aiohttp's own, of the open connection
@pytest.mark.parametrize("let_go", ["close", "release", "context", "session"])
def test_left_unread(aiohttp: Any, url: str, events: list[CallEvent], let_go: str, eventually: Wait) -> None:
    """An answer that is let go before it came whole was cancelled, however it is let go of."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            answer = await session.post(url, data=packed(ASKING), headers=simulate("hang=1"))
            if let_go == "context":
                async with answer:
                    pass
            elif let_go != "session":
                getattr(answer, let_go)()

    asyncio.run(main())
    eventually(lambda: bool(events))
    assert [(event.outcome, event.status) for event in events] == [("cancelled", 200)]


def test_what_came_whole_is_complete(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """An answer that has come is complete, read or not: the provider bills it, and states its usage."""

    async def main() -> None:
        async with asking(aiohttp, url) as answer:
            await answer.content.wait_eof()

    asyncio.run(main())
    assert [(event.outcome, event.usage_source) for event in events] == [("completed", "reported")]


def test_an_error_left_unread_failed(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """`raise_for_status` leaves the body unread; the call failed and nobody cancelled it."""

    async def main() -> None:
        with pytest.raises(aiohttp.ClientResponseError, match="500"):
            async with asking(aiohttp, url, WHOLE, "500", raise_for_status=True):
                pass

    asyncio.run(main())
    assert [(event.outcome, event.status) for event in events] == [("failed", 500)]


def test_a_cancelled_task(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """A task that is cancelled, before the head and within the body, has cancelled its call."""

    async def read(knobs: str) -> None:
        async with asking(aiohttp, url, ASKING, knobs) as answer:
            await answer.read()

    async def main() -> None:
        for knobs in ("slow=5000", "hang=2"):
            task = asyncio.create_task(read(knobs))
            await asyncio.wait([task], timeout=0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert [(event.outcome, event.status, event.error) for event in events] == [
        ("cancelled", None, None),
        ("cancelled", 200, None),
    ]


def test_timeouts(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """Time-outs of the socket and of the whole call interrupt it, with the error that the application saw."""

    async def main() -> None:
        for timeout, knobs in (
            (aiohttp.ClientTimeout(sock_read=0.05), "hang=2"),
            (aiohttp.ClientTimeout(total=0.1), "hang=2"),
            (aiohttp.ClientTimeout(total=0.1), "slow=5000"),
        ):
            with pytest.raises(asyncio.TimeoutError):
                async with asking(aiohttp, url, ASKING, knobs, timeout=timeout) as answer:
                    await answer.read()

    asyncio.run(main())
    assert [(event.outcome, event.status) for event in events] == [
        ("interrupted", 200),
        ("interrupted", 200),
        ("interrupted", None),
    ]
    names = [event.error.type for event in events if event.error is not None]
    assert names == ["SocketTimeoutError", "TimeoutError", "TimeoutError"]


def test_no_connection(aiohttp: Any, events: list[CallEvent]) -> None:
    """A refused connection is booked with its error."""

    async def main() -> None:
        with pytest.raises(aiohttp.ClientConnectorError):
            async with asking(aiohttp, "http://127.0.0.1:1/v1/chat/completions"):
                pass

    asyncio.run(main())
    assert [(event.outcome, event.error and event.error.type) for event in events] == [
        ("interrupted", "ClientConnectorError")
    ]


# ---- each request is a call


@asynccontextmanager
async def elsewhere(url: str) -> AsyncGenerator[str]:
    """A place that sends every call on to ``url``."""

    async def send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        writer.write(f"HTTP/1.1 307 Elsewhere\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(send_on, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions"


def test_each_redirect_is_a_call(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """A request that is sent elsewhere is one call, and the one that follows it another."""

    async def main() -> None:
        async with elsewhere(url) as first, asking(aiohttp, first) as answer:
            assert (await answer.json())["usage"]

    asyncio.run(main())
    assert [event.status for event in events] == [307, 200]
    assert [event.usage is None for event in events] == [True, False]


def test_the_sdk_counts_the_tries(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """What an SDK says of its retries is believed."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            headers = {"X-Stainless-Retry-Count": "2"}
            async with session.post(url, json=WHOLE, headers=headers) as answer:
                await answer.read()

    asyncio.run(main())
    assert [(event.attempt, event.request_model) for event in events] == [(3, "gpt-4o")]


def test_booked_once(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """Under a hook that owns the call nothing is booked."""

    async def main() -> None:
        token = owned.set(True)
        async with asking(aiohttp, url) as answer:
            await answer.read()
        owned.reset(token)

    asyncio.run(main())
    assert not events


def test_many_at_once(aiohttp: Any, url: str, provider: Simulator, events: list[CallEvent]) -> None:
    """Streams that run beside each other are not mixed up."""

    async def one(session: Any, number: int) -> None:
        body = ASKING | {"messages": [{"role": "user", "content": "word " * number}]}
        async with session.post(url, data=packed(body), headers=simulate("stall=1, output=20")) as answer:
            await answer.read()

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(one(session, number) for number in range(1, 21)))

    asyncio.run(main())
    stated = sorted(call.usage["input_tokens"] for call in provider.wait_served(20) if call.usage is not None)
    counted = sorted((event.usage or {}).get("input_tokens", 0) for event in events)
    assert counted == stated
    assert len(stated) == 20


# ---- usage that was not asked for


@pytest.fixture
def asked_place(provider: Simulator) -> None:
    """The provider, declared as one whose streams are to be asked for their usage."""
    endpoint(provider.url("openai"), api="openai.chat", provider="openai", asks_usage=True)


@pytest.mark.parametrize("knobs", ["", "bytewise", "gzip", "br", "drop=4", "stall=2"])
@pytest.mark.usefixtures("asked_place")
def test_a_stream_is_made_to_state_its_usage(
    aiohttp: Any, url: str, provider: Simulator, events: list[CallEvent], knobs: str
) -> None:
    """The meter gets the usage, and the application the bytes that it would have got without."""
    for decompress in (True, False):
        provider.forget()
        events.clear()
        hook.uninstall(aiohttp)
        without = asyncio.run(seen(aiohttp, url, STREAM, knobs.replace("gzip", "").replace("br", "")))
        hook.install(aiohttp)
        found = asyncio.run(seen(aiohttp, url, STREAM, knobs, auto_decompress=decompress))
        if knobs == "drop=4":
            assert found[0] == without[0]
            assert [event.outcome for event in events] == ["interrupted"]
            continue
        assert found[1:] == without[1:]
        assert [(event.outcome, event.usage_source) for event in events] == [("completed", "reported")]
        served = provider.wait_served(2)
        assert served[0].usage is None
        assert agree(events[0], served[1])


@pytest.mark.usefixtures("asked_place")
@pytest.mark.parametrize("read", [by_read, by_any, by_chunked, by_chunks, by_line, by_readexactly])
def test_usage_is_taken_out_however_it_is_read(
    aiohttp: Any, url: str, events: list[CallEvent], read: Callable[[Any], Awaitable[list[bytes]]]
) -> None:
    """No way to read shows the usage that only we asked for."""

    async def main() -> None:
        for knobs in ("", "stall=1"):
            async with asking(aiohttp, url, STREAM, knobs) as answer:
                body = b"".join(await read(answer))
            assert b'"usage"' not in body
            assert body.endswith(b"data: [DONE]\n\n")
            assert answer.content.total_bytes == len(body)

    asyncio.run(main())
    assert [event.usage_source for event in events] == ["reported", "reported"]


@pytest.mark.usefixtures("asked_place")
def test_what_the_application_asked_for_stays(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """A stream that asks for its usage, and one that says that it wants none, are left as they are."""

    async def main() -> None:
        async with asking(aiohttp, url, ASKING) as answer:
            assert b'"prompt_tokens"' in await answer.read()
        async with asking(aiohttp, url, STREAM | {"stream_options": {"include_usage": False}}) as answer:
            assert b'"usage"' not in await answer.read()

    asyncio.run(main())
    assert [event.usage_source for event in events] == ["reported", "unknown"]


@pytest.mark.usefixtures("asked_place")
def test_usage_is_taken_out_after_a_redirect(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """A request that was changed, and is sent on as it is, is still known to have been changed."""

    async def main() -> None:
        async with elsewhere(url) as first:
            endpoint(first.removesuffix("/chat/completions"), api="openai.chat", provider="openai", asks_usage=True)
            async with asking(aiohttp, first, STREAM) as answer:
                assert b'"usage"' not in await answer.read()

    asyncio.run(main())
    assert [(event.status, event.usage_source) for event in events] == [(307, "unknown"), (200, "reported")]


@pytest.mark.usefixtures("asked_place")
def test_signed_bodies_are_not_changed(aiohttp: Any, url: str, events: list[CallEvent]) -> None:
    """A body that headers sign leaves as it was signed."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            headers = JSON | {"x-amz-content-sha256": "0" * 64}
            async with session.post(url, data=packed(STREAM), headers=headers) as answer:
                assert b'"usage"' not in await answer.read()

    asyncio.run(main())
    assert [event.usage_source for event in events] == ["unknown"]


def test_undeclared_hosts_are_not_asked(aiohttp: Any, url: str, provider: Simulator, events: list[CallEvent]) -> None:
    """Where nobody said that it may be asked, the request leaves as it is."""
    asyncio.run(seen(aiohttp, url, STREAM, "refuse-stream-options"))
    assert provider.wait_served(1)[0].status == 200
    assert [event.usage_source for event in events] == ["unknown"]


# ---- what is left alone


def test_other_traffic_is_not_touched(aiohttp: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """What is no call gets the library's own response and stream."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session, session.get(provider.url("openai") + "/models") as answer:
            assert type(answer.content) is aiohttp.StreamReader
            assert "_taximeter" not in vars(answer)
            assert await answer.read()

    asyncio.run(main())
    assert not events


def test_a_body_that_is_read_once_is_not_read_by_us(
    aiohttp: Any, url: str, provider: Simulator, events: list[CallEvent]
) -> None:
    """A generator reaches the provider whole; the model is then known from the answer."""

    async def pieces() -> AsyncIterator[bytes]:
        yield packed(WHOLE)[:10]
        yield packed(WHOLE)[10:]

    async def main() -> None:
        async with asking(aiohttp, url, pieces()) as answer:
            assert json.loads(await answer.read())["model"]

    asyncio.run(main())
    assert provider.wait_served(1)[0].model == "gpt-4o"
    assert (events[0].outcome, events[0].request_model) == ("completed", None)


def test_switched_off(aiohttp: Any, url: str, events: list[CallEvent], tmp_path: Path) -> None:
    """With TAXIMETER_ENABLED=0 nothing is metered."""
    off = configure(enabled=False, store=str(tmp_path / "off.sqlite3"))
    asyncio.run(seen(aiohttp, url, WHOLE, ""))
    assert not off.totals.by("provider")
    assert not events


@pytest.mark.usefixtures("caplog")
def test_refused_when_it_cannot_be_journaled(aiohttp: Any, url: str, provider: Simulator, tmp_path: Path) -> None:
    """With `on_meter_failure = refuse` a call that cannot be journaled does not leave, and says why."""
    (tmp_path / "file").touch()
    refusing = configure(store=str(tmp_path / "s.sqlite3"), journal=tmp_path / "file", on_meter_failure="refuse")
    with pytest.raises(JournalError):
        asyncio.run(seen(aiohttp, url, WHOLE, ""))
    assert not provider.served
    assert refusing.failures["journal"] == 1


# ---- on and off


def test_on_twice_and_off(aiohttp: Any) -> None:
    """Twice is once, and off puts back the very functions that were there."""
    places = ((aiohttp.BaseConnector, "connect"), (aiohttp.ClientRequest, "send"), (aiohttp.ClientResponse, "start"))
    hook.uninstall(aiohttp)
    before = [owner.__dict__[name] for owner, name in places]
    hook.install(aiohttp)
    once = [owner.__dict__[name] for owner, name in places]
    hook.install(aiohttp)
    assert [owner.__dict__[name] for owner, name in places] == once
    assert [function.__wrapped__ for function in once] == before
    hook.uninstall(aiohttp)
    assert [owner.__dict__[name] for owner, name in places] == before
