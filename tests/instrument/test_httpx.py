"""httpx and httpx2: the application sees what it would see without us, and every call is booked once."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import taximeter
from taximeter.errors import JournalError
from taximeter.event import CallEvent
from taximeter.meter import Meter, configure
from taximeter.meter.listeners import Listeners
from taximeter.testing import Simulator

CHAT = "https://api.openai.com/v1/chat/completions"
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello there"}]}
STREAM = ASK | {"stream": True}
ASKING = STREAM | {"stream_options": {"include_usage": True}}
HEAD = b'data: {"id":"c1","model":"gpt-4o","choices":'
TEXT = HEAD + b'[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]'
STOP = HEAD + b'[{"index":0,"delta":{},"finish_reason":"stop"}]'
USAGE = HEAD + b'[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'
ASKED = [TEXT + b',"usage":null}\n\n', STOP + b',"usage":null}\n\n' + USAGE, b"data: [DONE]\n\n"]
UNASKED = [TEXT + b"}\n\n", STOP + b"}\n\n", b"data: [DONE]\n\n"]
SSE = {"content-type": "text/event-stream", "x-request-id": "r1"}

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture(params=["httpx", "httpx2"])
def lib(request: pytest.FixtureRequest, need: Callable[[str], None]) -> Any:
    """Each of the two packages."""
    if request.param == "httpx":
        need("httpx")
    return import_module(request.param)


@pytest.fixture
def hooked(lib: Any, provider: Simulator, meter: Meter) -> Any:
    """The package, hooked, and the provider declared as OpenAI."""
    taximeter.instrument(lib.__name__)
    taximeter.endpoint(provider.url("openai"), api="openai.chat", provider="openai")
    assert meter.declared
    return lib


def in_memory(lib: Any, chunks: list[bytes], headers: dict[str, str] = SSE, error: Exception | None = None) -> Any:
    """A transport that answers with these very chunks, then breaks with ``error``; it keeps what it was asked."""

    class Stream(lib.SyncByteStream, lib.AsyncByteStream):
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            yield from chunks
            if error is not None:
                raise error

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self:
                yield chunk

        def close(self) -> None:
            self.closed += 1

        async def aclose(self) -> None:
            self.closed += 1

    class Transport(lib.BaseTransport, lib.AsyncBaseTransport):
        stream = Stream()
        asked: Any = None

        def handle_request(self, request: Any) -> Any:
            self.asked = request
            return lib.Response(200, headers=headers, stream=self.stream)

        async def handle_async_request(self, request: Any) -> Any:
            return self.handle_request(request)

    return Transport()


def ask(client: Any, url: str, body: dict[str, Any] = ASK, **options: Any) -> Any:
    """Posts a call that is then read."""
    return client.build_request("POST", url, json=body, **options)


# ---- the very bytes


@pytest.mark.parametrize("knobs", ["", "gzip", "br", "429", "bytewise"])
@pytest.mark.parametrize("body", [ASK, ASKING, ASK | {"model": "claude-sonnet-4-5", "max_tokens": 9}])
def test_the_application_sees_the_same(
    lib: Any, provider: Simulator, events: list[CallEvent], knobs: str, body: dict[str, Any]
) -> None:
    """Status, headers and body, encoded as they came, with the hook and without; and the call is booked."""
    url = provider.url("anthropic") + "/v1/messages" if "max_tokens" in body else provider.url() + "/chat/completions"
    seen: list[tuple[int, list[tuple[str, str]], bytes]] = []
    for hook in (False, True):
        provider.forget()
        if hook:
            taximeter.instrument()
        with lib.Client() as client:
            response = client.send(ask(client, url, body, headers={"x-simulate": f"{knobs},cached=0"}), stream=True)
            raw = b"".join(response.iter_raw())
        headers = [pair for pair in response.headers.multi_items() if pair[0] != "date"]
        seen.append((response.status_code, headers, raw))
    assert seen[0] == seen[1]
    (event,) = events
    (served,) = provider.served
    assert event.outcome == ("failed" if knobs == "429" else "completed")
    assert dict(event.usage or {}) == (served.usage or {})


def test_chunks_come_as_they_came(lib: Any, events: list[CallEvent]) -> None:
    """The same objects, in the same order, none held back; empty ones too."""
    chunks = [ASKED[0][:7], b"", ASKED[0][7:], *ASKED[1:]]
    inner = in_memory(lib, chunks)
    client = lib.Client(transport=taximeter.Transport(inner))
    response = client.send(ask(client, CHAT, ASKING), stream=True)
    seen = list(response.stream)
    assert all(mine is theirs for mine, theirs in zip(seen, chunks, strict=True))
    response.close()
    assert inner.stream.closed == 1
    assert [event.outcome for event in events] == ["completed"]
    assert json.loads(inner.asked.content) == ASKING


def test_other_traffic_is_not_touched(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Neither its stream nor its books."""
    plain = in_memory(hooked, [b"[]"])
    client = hooked.Client(transport=taximeter.Transport(plain))
    request = ask(client, "https://api.openai.com/v1/files")
    assert taximeter.Transport(plain).handle_request(request).stream is plain.stream
    assert plain.asked is request
    with hooked.Client() as real:
        assert real.get(provider.base_url + "/v1/models").status_code == 200
    assert events == []


@pytest.mark.parametrize("chunk_size", [None, 5])
def test_async_bytes_are_the_same(
    hooked: Any, provider: Simulator, events: list[CallEvent], chunk_size: int | None
) -> None:
    """The asynchronous client gets the body that the synchronous one gets."""
    url = provider.url() + "/chat/completions"
    with hooked.Client() as client:
        expected = client.post(url, json=ASKING).content

    async def run() -> bytes:
        async with hooked.AsyncClient() as client, client.stream("POST", url, json=ASKING) as response:
            return b"".join([chunk async for chunk in response.aiter_bytes(chunk_size)])

    assert asyncio.run(run()) == expected
    assert [(event.outcome, event.usage) for event in events] == [("completed", events[0].usage)] * 2
    assert events[0].usage is not None


# ---- how a call ends


def test_leaving_early_is_cancelled(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Closed while it streams, never read at all; an error whose body nobody wants has failed all the same."""
    url = provider.url() + "/chat/completions"
    with hooked.Client() as client:
        with client.stream("POST", url, json=STREAM) as response:
            next(response.iter_bytes())
        client.send(ask(client, url, STREAM), stream=True).close()
        client.send(ask(client, url, headers={"x-simulate": "500"}), stream=True).close()
    assert [event.outcome for event in events] == ["cancelled", "cancelled", "failed"]
    assert [(event.usage, event.usage_source) for event in events] == [(None, "unknown")] * 3
    assert [event.status for event in events] == [200, 200, 500]


def test_a_stream_that_nobody_holds_is_cancelled(
    hooked: Any, provider: Simulator, events: list[CallEvent], eventually: Wait
) -> None:
    """Collected as garbage, in a cycle too; and never closed within the collector, which may run inside any lock."""
    url = provider.url() + "/chat/completions"
    client = hooked.Client()
    collecting: list[int] = []
    inside: list[bool] = []

    def watch(phase: str, _info: object) -> None:
        collecting[:] = [threading.get_ident()] if phase == "start" else []

    gc.callbacks.append(watch)
    taximeter.on("call_closed", lambda _: inside.append(threading.get_ident() in collecting))
    try:
        gc.disable()
        for number in (1, 2):
            response = client.send(ask(client, url, STREAM), stream=True)
            if number == 1:
                holder: dict[str, Any] = {"chunks": response.iter_bytes()}
                next(holder["chunks"])
            else:
                holder = {"response": response}
            holder["self"] = holder
            del holder, response
            assert len(events) == number - 1
            gc.collect()
            eventually(lambda number=number: len(events) == number)
    finally:
        gc.enable()
        gc.callbacks.remove(watch)
        client.close()
    assert [event.outcome for event in events] == ["cancelled", "cancelled"]
    assert inside == [False, False]


def test_a_connection_that_breaks(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """The application gets the package's own error; the call was interrupted, and says by what."""
    url = provider.url() + "/chat/completions"
    with hooked.Client() as client:
        with pytest.raises(hooked.RemoteProtocolError) as raised:
            client.post(url, json=STREAM, headers={"x-simulate": "drop=2"})
        with pytest.raises(hooked.RemoteProtocolError):
            client.post(url, json=ASK, headers={"x-simulate": "no-head"})
        with pytest.raises(hooked.ReadTimeout):
            client.post(url, json=STREAM, headers={"x-simulate": "hang=1"}, timeout=0.3)
    assert [event.outcome for event in events] == ["interrupted"] * 3
    assert [event.status for event in events] == [200, None, 200]
    assert [event.error and event.error.type for event in events] == [
        "RemoteProtocolError",
        "RemoteProtocolError",
        "ReadTimeout",
    ]
    assert events[0].error is not None
    assert events[0].error.message == str(raised.value)


def test_nobody_listens(hooked: Any, events: list[CallEvent]) -> None:
    """A call that could not even connect is booked without a status and without usage."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with hooked.Client() as client, pytest.raises(hooked.ConnectError):
        client.post(f"http://127.0.0.1:{port}/openai/v1/chat/completions", json=ASK)
    (event,) = events
    assert (event.outcome, event.status, event.usage) == ("interrupted", None, None)


def test_the_very_exception(lib: Any, events: list[CallEvent]) -> None:
    """The object that the transport raised, with whatever had come before it."""
    error = lib.ReadError("gone")
    client = lib.Client(transport=taximeter.Transport(in_memory(lib, ASKED[:1], error=error)))
    response = client.send(ask(client, CHAT, ASKING), stream=True)
    chunks = response.iter_raw()
    assert next(chunks) == ASKED[0]
    with pytest.raises(lib.ReadError) as raised:
        next(chunks)
    assert raised.value is error
    assert [event.outcome for event in events] == ["interrupted"]


def test_a_cancelled_task(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Cancelled before the head, and within the body: the cancellation passes, and both calls are cancelled."""
    url = provider.url() + "/chat/completions"

    async def call(knobs: str) -> None:
        async with hooked.AsyncClient() as client:
            await client.post(url, json=STREAM, headers={"x-simulate": knobs})

    async def run() -> None:
        for knobs, name in (("slow=60000", "call_opened"), ("hang=2", "first_token")):
            happened = asyncio.Event()
            taximeter.on(name, lambda _, happened=happened: happened.set())
            task = asyncio.create_task(call(knobs))
            await happened.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert [(event.outcome, event.status) for event in events] == [("cancelled", None), ("cancelled", 200)]


def test_an_async_stream_that_is_left(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """By ``break`` and close, by closing the generator, and by letting go of everything."""
    url = provider.url() + "/chat/completions"

    async def ended(calls: int) -> None:
        until = time.monotonic() + 10
        while len(events) < calls and time.monotonic() < until:
            gc.collect()
            await asyncio.sleep(0.001)
        assert len(events) == calls

    async def run() -> None:
        async with hooked.AsyncClient() as client:
            async with client.stream("POST", url, json=STREAM) as response:
                async for _ in response.aiter_bytes():
                    break
            assert len(events) == 1
            for number in (2, 3):
                response = await client.send(ask(client, url, STREAM), stream=True)
                chunks = response.aiter_raw()
                await anext(chunks)
                if number == 2:
                    await chunks.aclose()
                del chunks, response
                await ended(number)

    asyncio.run(run())
    assert [event.outcome for event in events] == ["cancelled"] * 3


def test_a_stream_that_was_read_to_its_end_is_complete(
    hooked: Any, provider: Simulator, events: list[CallEvent]
) -> None:
    """Many SDKs stop at ``[DONE]`` and close: that is no cancellation."""
    with (
        hooked.Client() as client,
        client.stream("POST", provider.url() + "/chat/completions", json=ASKING) as response,
    ):
        for line in response.iter_lines():
            if line == "data: [DONE]":
                break
    (event,) = events
    assert (event.outcome, event.usage_source, event.stream) == ("completed", "reported", True)


# ---- booked once, booked at all


def test_wrapped_and_hooked_is_booked_once(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """The outermost hook owns the call, whichever way they are put around each other."""
    url = provider.url() + "/chat/completions"
    once = taximeter.Transport(hooked.HTTPTransport())
    with hooked.Client(transport=taximeter.Transport(once)) as client:
        client.post(url, json=ASK)
        client.post(url, json=ASK)

    async def run() -> None:
        transport = taximeter.AsyncTransport(taximeter.AsyncTransport(hooked.AsyncHTTPTransport()))
        async with hooked.AsyncClient(transport=transport) as client:
            await client.post(url, json=ASK)

    asyncio.run(run())
    assert len(events) == len(provider.served) == 3


def test_the_attempt_is_what_the_sdk_says(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Its count of retries, plus one."""
    with hooked.Client() as client:
        for headers in ({}, {"x-stainless-retry-count": "2"}):
            client.post(provider.url() + "/chat/completions", json=ASK | {"seed": len(headers)}, headers=headers)
    assert [event.attempt for event in events] == [1, 3]


def test_a_body_that_streams_is_not_consumed(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """A generator, a file, a form leave as they are; the answer still says which model it was."""
    url = provider.url() + "/chat/completions"
    body = json.dumps(STREAM).encode()
    taken: list[int] = []

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(body), 10):
            taken.append(at)
            yield body[at : at + 10]

    with hooked.Client() as client:
        request = client.build_request("POST", url, content=pieces(), headers={"content-type": "application/json"})
        assert taken == []
        response = client.send(request)
    assert response.status_code == 200
    assert len(taken) == -(-len(body) // 10)
    (event,) = events
    assert (event.request_model, event.response_model, event.stream) == (None, "gpt-4o", True)


def test_a_preloaded_answer_is_metered(lib: Any, events: list[CallEvent]) -> None:
    """A mock has its whole body at once; usage is taken out of that too."""
    asked: list[Any] = []

    def answer(request: Any) -> Any:
        asked.append(json.loads(request.content))
        return lib.Response(200, headers=SSE, content=b"".join(ASKED))

    client = lib.Client(transport=taximeter.Transport(lib.MockTransport(answer)))
    assert client.post(CHAT, json=STREAM).content == b"".join(UNASKED)
    assert client.post(CHAT, json=ASKING).content == b"".join(ASKED)
    assert asked == [{"stream_options": {"include_usage": True}, **STREAM}, ASKING]
    assert [(event.outcome, event.usage_source) for event in events] == [("completed", "reported")] * 2

    async def run() -> bytes:
        transport = taximeter.AsyncTransport(lib.MockTransport(answer))
        async with lib.AsyncClient(transport=transport) as client:
            return (await client.post(CHAT, json=STREAM)).content

    assert asyncio.run(run()) == b"".join(UNASKED)
    assert len(events) == 3


# ---- asking for usage


def test_usage_is_asked_for_and_taken_out(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """The application's request and the events that it gets are as if nobody had asked; the books have the usage."""
    url = provider.url() + "/chat/completions"
    with hooked.Client() as client:
        response = client.post(url, json=STREAM)
    assert json.loads(response.request.content) == STREAM
    assert "gzip" in response.request.headers["accept-encoding"]
    assert b'"usage"' not in response.content
    assert response.content.endswith(b"data: [DONE]\n\n")
    (event,) = events
    (served,) = provider.served
    assert served.usage is not None
    assert dict(event.usage or {}) == served.usage
    assert event.usage_source == "reported"


@pytest.mark.parametrize("packed", [False, True])
def test_the_edited_stream(lib: Any, events: list[CallEvent], *, packed: bool) -> None:
    """Asked for as it is; decoded where it comes encoded all the same; events in their chunks, nothing lost."""
    whole = gzip.compress(b"".join(ASKED))
    chunks = [whole[:30], whole[30:]] if packed else ASKED
    headers = SSE | ({"content-encoding": "gzip"} if packed else {}) | {"content-length": str(len(b"".join(chunks)))}
    inner = in_memory(lib, chunks, headers)
    client = lib.Client(transport=taximeter.Transport(inner))
    response = client.send(ask(client, CHAT, STREAM), stream=True)
    assert dict(response.headers) == SSE
    seen = list(response.iter_raw())
    assert b"".join(seen) == b"".join(UNASKED)
    assert packed or seen == UNASKED
    sent = inner.asked
    assert sent.headers["accept-encoding"] == "identity"
    assert int(sent.headers["content-length"]) == len(sent.content)
    assert json.loads(sent.content) == {"stream_options": {"include_usage": True}, **STREAM}
    assert {name: sent.headers[name] for name in ("host", "content-type", "user-agent")} == {
        name: response.request.headers[name] for name in ("host", "content-type", "user-agent")
    }
    assert events[0].usage is not None
    assert events[0].usage.input_tokens == 9


def test_a_cut_stream_hands_on_what_was_held(lib: Any, events: list[CallEvent]) -> None:
    """Half an event, then the error: the application gets the half, then the error."""
    half = TEXT[:40]

    def answered() -> Any:
        return in_memory(lib, [ASKED[0] + half], error=lib.ReadError("gone"))

    client = lib.Client(transport=taximeter.Transport(answered()))
    chunks = client.send(ask(client, CHAT, STREAM), stream=True).iter_raw()
    assert [next(chunks), next(chunks)] == [UNASKED[0], half]
    with pytest.raises(lib.ReadError, match="gone"):
        next(chunks)

    async def run() -> list[bytes]:
        client = lib.AsyncClient(transport=taximeter.AsyncTransport(answered()))
        response = await client.send(ask(client, CHAT, STREAM), stream=True)
        seen: list[bytes] = []
        chunks = response.aiter_raw()
        seen.extend([await anext(chunks), await anext(chunks)])
        with pytest.raises(lib.ReadError, match="gone"):
            await anext(chunks)
        return seen

    assert asyncio.run(run()) == [UNASKED[0], half]
    assert [event.outcome for event in events] == ["interrupted"] * 2


def test_a_damaged_encoding_is_the_packages_error(lib: Any, events: list[CallEvent]) -> None:
    """The application would have got a DecodingError, and gets one."""
    damaged = bytearray(gzip.compress(b"".join(ASKED)))
    damaged[15] ^= 0xFF
    inner = in_memory(lib, [bytes(damaged)], SSE | {"content-encoding": "gzip"})
    client = lib.Client(transport=taximeter.Transport(inner))
    with pytest.raises(lib.DecodingError):
        client.post(CHAT, json=STREAM)
    assert [event.outcome for event in events] == ["interrupted"]


@pytest.mark.parametrize(
    ("url", "body", "headers"),
    [
        ("https://gateway.example.com/openai/v1/chat/completions", STREAM, {}),
        ("https://api.mistral.ai/v1/chat/completions", STREAM, {}),
        (CHAT, STREAM, {"x-amz-content-sha256": "0"}),
        (CHAT, STREAM, {"content-digest": "sha-256=:x:"}),
        (CHAT, STREAM | {"stream_options": {"include_usage": False}}, {}),
        (CHAT, ASK, {}),
    ],
)
def test_who_must_not_be_asked_is_not(
    lib: Any, events: list[CallEvent], url: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    """Hosts that are not known, signed bodies, the application's own word: the very request leaves."""
    inner = in_memory(lib, UNASKED)
    client = lib.Client(transport=taximeter.Transport(inner))
    response = client.post(url, json=body, headers=headers)
    assert inner.asked is response.request
    assert len(events) == 1


@pytest.mark.usefixtures("meter")
def test_asking_can_be_switched_off(lib: Any, tmp_path: Path) -> None:
    """``inject_usage = never``."""
    other = configure(store=str(tmp_path / "other.sqlite3"), inject_usage="never")
    inner = in_memory(lib, UNASKED)
    response = lib.Client(transport=taximeter.Transport(inner)).post(CHAT, json=STREAM)
    assert inner.asked is response.request
    other.close()


def test_a_refused_option_is_the_applications_error(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Nothing is tried a second time; the answer is handed on as it is."""
    with hooked.Client() as client:
        response = client.post(
            provider.url() + "/chat/completions", json=STREAM, headers={"x-simulate": "refuse-stream-options"}
        )
    assert response.status_code == 422
    assert [(event.outcome, event.status) for event in events] == [("failed", 422)]
    assert len(provider.served) == 1


# ---- when the meter fails, or is off


@pytest.mark.usefixtures("meter")
def test_a_journal_that_fails(lib: Any, provider: Simulator, tmp_path: Path) -> None:
    """``refuse``: the call does not leave. ``allow``: it goes on, and the failure is counted."""
    (tmp_path / "file").write_text("no folder")
    taximeter.instrument()
    url = provider.url() + "/chat/completions"
    for policy in ("refuse", "allow"):
        broken = configure(
            store=str(tmp_path / "s.sqlite3"), journal=str(tmp_path / "file" / "j"), on_meter_failure=policy
        )
        broken.listeners = Listeners()
        with lib.Client() as client:
            if policy == "refuse":
                with pytest.raises(JournalError):
                    client.post(url, json=ASK)
            else:
                assert client.post(url, json=ASK).status_code == 200
        assert broken.failures["journal"] > 0
        assert len(provider.served) == (policy == "allow")
        broken.close()


def test_a_failure_of_ours_is_not_the_applications(
    hooked: Any, meter: Meter, provider: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks in the hook, the call goes on, and the failure is counted."""

    def broken(*_: object) -> None:
        msg = "broken"
        raise RuntimeError(msg)

    url = provider.url() + "/chat/completions"
    with hooked.Client() as client:
        for name in ("open_call", "body_that_asks", "UsageRemover"):
            with monkeypatch.context() as patched:
                patched.setattr(f"taximeter.instrument.exchange.{name}", broken)
                assert client.post(url, json=STREAM).content.endswith(b"[DONE]\n\n")
    assert meter.failures.pop("hook") == 3


@pytest.mark.usefixtures("meter")
def test_switched_off_is_one_look(lib: Any, tmp_path: Path) -> None:
    """``enabled = False``: nothing is booked, changed or asked."""
    off = configure(store=str(tmp_path / "off.sqlite3"), enabled=False)
    taximeter.instrument()
    inner = in_memory(lib, UNASKED)
    response = lib.Client(transport=taximeter.Transport(inner)).post(CHAT, json=STREAM)
    assert inner.asked is response.request
    assert off.totals.by("provider") == {}
    off.close()


def test_threads_at_once(hooked: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Many streams at once over one client: every one is booked once, with what was served."""
    url = provider.url() + "/chat/completions"
    with hooked.Client() as client:

        def run(number: int) -> None:
            for turn in range(5):
                client.post(url, json=STREAM | {"seed": number * 10 + turn})

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(events) == 40
    served = sum((call.usage or {})["output_tokens"] for call in provider.served)
    assert sum(event.usage.output_tokens or 0 for event in events if event.usage) == served
