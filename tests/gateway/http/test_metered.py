"""Calls that are metered: what their answers tell, what is edited, and what the books say."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from taximeter.event import CallEvent, Scope
from taximeter.gateway.config import ServingSettings
from taximeter.gateway.plan import Caller
from taximeter.gateway.worker import Gateway
from taximeter.meter.call import Call
from taximeter.meter.runtime import Meter
from taximeter.meter.settings import Settings
from tests.gateway.http.stage import CHAT, Client, Keeper, Peer, Upstream, answering, ask, gateway, post, to

ASKED = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
STREAM = ASKED[:-1] + b',"stream":true}'
BODY = (
    b'{"id":"c-1","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}'
)
COST = b"0.0035"  # 1000 × 2.5 USD/M + 100 × 10 USD/M
TEXT = b'data: {"id":"c-1","model":"gpt-4o-2024-08-06","choices":[{"index":0,"delta":{"content":"hey"}}]%b}\n\n'
USAGE = (
    b'data: {"id":"c-1","model":"gpt-4o-2024-08-06","choices":[],'
    b'"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}\n\n'
)
DONE = b"data: [DONE]\n\n"
NULL = b',"usage":null'


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[tuple[Meter, list[CallEvent]]]:
    """A meter with a store of its own, and the events that it tells of."""
    made = Meter(Settings(store=f"sqlite:///{tmp_path}/m.sqlite3", journal=tmp_path / "journal"))
    events: list[CallEvent] = []
    made.listeners.on("call_closed", events.append)
    yield made, events
    made.close()


def whole(body: bytes = BODY, *lines: bytes) -> bytes:
    """An answer that is no stream."""
    head = (b"HTTP/1.1 200 OK", b"Content-Type: application/json", b"Content-Length: %d" % len(body), *lines)
    return b"\r\n".join((*head, b"", body))


def chunks(*pieces: bytes, kind: bytes = b"text/event-stream") -> bytes:
    """An answer in chunks."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


def unchunked(answer: bytes) -> bytes:
    """The payload of an answer in chunks."""
    rest = answer.partition(b"\r\n\r\n")[2]
    out = b""
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return out
        out += rest[:size]
        assert rest[size : size + 2] == b"\r\n"
        rest = rest[size + 2 :]


def value(head: bytes, name: bytes) -> bytes | None:
    """A header's value."""
    lines = [line.partition(b": ") for line in head.split(b"\r\n")]
    return next((value for found, _, value in lines if found.lower() == name), None)


def test_a_whole_answer_tells_its_call_and_cost(meter: tuple[Meter, list[CallEvent]]) -> None:
    """In two headers; the rest is as it came."""
    with Upstream(answering(whole())) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, scope=Scope(project="shop")), needs_body=True)
        with gateway(keeper, meter[0]) as made:
            head, body = ask(made, post(ASKED, b"Accept-Encoding: gzip", b"x-stainless-retry-count: 2"))
    [event] = meter[1]
    assert value(head, b"x-taximeter-call-id") == event.id.encode()
    assert value(head, b"x-taximeter-cost-usd") == COST
    assert body == BODY
    assert head.startswith(whole().partition(b"\r\n\r\n")[0])
    assert (event.scope.project, event.request_model, event.attempt, event.outcome) == (
        "shop",
        "gpt-4o",
        3,
        "completed",
    )
    assert b"Accept-Encoding: gzip\r\n" in upstream.requests[0]


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_the_cost_is_put_into_the_usage(meter: tuple[Meter, list[CallEvent]], encoded: bool, in_chunks: bool) -> None:  # noqa: FBT001
    """However the answer comes; it is asked for without encoding."""
    sent = gzip.compress(BODY) if encoded else BODY
    answer = chunks(sent[:50], sent[50:], kind=b"application/json") if in_chunks else whole(sent)
    if encoded:
        answer = answer.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1)
    with Upstream(answering(answer)) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, cost_in_usage=True), needs_body=True)
        with gateway(keeper, meter[0]) as made:
            head, body = ask(made, post(ASKED, b"Accept-Encoding: gzip"))
    assert body == BODY[:-2] + b',"cost_usd":"%b"}}' % COST
    assert value(head, b"content-length") == b"%d" % len(body)
    assert value(head, b"content-encoding") is None
    assert value(head, b"transfer-encoding") is None
    assert b"\r\naccept-encoding: identity\r\n" in upstream.requests[0]
    assert b"gzip" not in upstream.requests[0]


def test_chunks_that_are_not_edited_stay(meter: tuple[Meter, list[CallEvent]]) -> None:
    """A held answer in chunks passes in its own frames."""
    answer = chunks(BODY[:50], BODY[50:], kind=b"application/json")
    with Upstream(answering(answer)) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT), needs_body=True)
        with gateway(keeper, meter[0]) as made, Client(made) as client:
            client.send(post(ASKED))
            head = client.until(b"\r\n\r\n")
            assert client.until(b"0\r\n\r\n") == answer.partition(b"\r\n\r\n")[2]
    assert value(head, b"x-taximeter-cost-usd") == COST


def test_a_long_answer_is_not_held(meter: tuple[Meter, list[CallEvent]]) -> None:
    """It passes as it comes, without its cost, and is counted all the same: with a length, and in chunks."""
    body = BODY.replace(b"hello", b"h" * 1_000_000)
    for answer in (whole(body), chunks(body[:50], body[50:], kind=b"application/json")):
        with Upstream(answering(answer)) as upstream:
            keeper = Keeper(to(upstream.port, route=CHAT), needs_body=True)
            with gateway(keeper, meter[0], max_edited_bytes=10_000) as made, Client(made) as client:
                client.send(post(ASKED).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                got = client.to_the_end()
        assert got.partition(b"\r\n\r\n")[2] == answer.partition(b"\r\n\r\n")[2]
        assert b"x-taximeter-call-id" in got
        assert b"cost-usd" not in got
    assert [event.usage and event.usage["input_tokens"] for event in meter[1]] == [1000, 1000]


@pytest.mark.parametrize("cut", [1, 7, 100, 10_000])
def test_a_stream_that_was_made_to_state_its_usage(meter: tuple[Meter, list[CallEvent]], cut: int) -> None:
    """The client gets the stream that it asked for, however it is cut; the books have the usage."""
    stated = TEXT % NULL + TEXT % NULL + USAGE + DONE
    answer = chunks(*[stated[at : at + cut] for at in range(0, len(stated), cut)])
    with Upstream(answering(answer)) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, inject_usage=True, cost_in_usage=True), needs_body=True)
        with gateway(keeper, meter[0]) as made, Client(made) as client:
            client.send(post(STREAM).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            got = client.to_the_end()
    assert unchunked(got) == TEXT % b"" + TEXT % b"" + DONE
    assert b'"stream_options":{"include_usage":true}' in upstream.requests[0]
    assert b"\r\naccept-encoding: identity\r\n" in upstream.requests[0]
    [event] = meter[1]
    assert (event.usage_source, str(event.cost), event.outcome) == ("reported", COST.decode(), "completed")
    assert value(got, b"x-taximeter-call-id") == event.id.encode()


def test_a_stream_that_states_its_usage_is_left_alone(meter: tuple[Meter, list[CallEvent]]) -> None:
    """With ``cost_in_usage`` off not a byte of the body changes."""
    answer = chunks(TEXT % NULL, TEXT % NULL + USAGE[:20], USAGE[20:] + DONE)
    with Upstream(answering(answer)) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, inject_usage=True), needs_body=True)
        with gateway(keeper, meter[0]) as made, Client(made) as client:
            client.send(post(STREAM[:-1] + b',"stream_options":{"include_usage":true}}'))
            client.until(b"\r\n\r\n")
            assert client.until(b"0\r\n\r\n") == answer.partition(b"\r\n\r\n")[2]
    assert str(meter[1][0].cost) == COST.decode()


def test_what_an_edited_stream_leaves_alone_passes_in_its_frames(meter: tuple[Meter, list[CallEvent]]) -> None:
    """Only the chunk in which something is taken out is made anew."""
    plain = chunks(TEXT % b"", TEXT % b"")[:-5]

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(plain)
        assert seen.wait(5)
        peer.send(b"%x;ext\r\n%b\r\n" % (len(USAGE), USAGE) + b"e\r\n" + DONE + b"\r\n0\r\nX-T: t\r\n\r\n")

    seen = threading.Event()
    with Upstream(script) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, inject_usage=True), needs_body=True)
        with gateway(keeper, meter[0]) as made, Client(made) as client:
            client.send(post(STREAM))
            client.until(b"\r\n\r\n")
            frames = plain.partition(b"\r\n\r\n")[2]
            assert client.until(frames) == frames
            seen.set()
            assert client.until(b"t\r\n\r\n") == b"e\r\n" + DONE + b"\r\n0\r\nX-T: t\r\n\r\n"


def test_errors_tell_their_call(meter: tuple[Meter, list[CallEvent]]) -> None:
    """The provider's, and ours for an upstream that is not there; both are in the books."""
    error = b'{"error":{"message":"no","type":"invalid_request_error","code":"x"}}'
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(error), error)
    with Upstream(answering(answer)) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT), needs_body=True)
        with gateway(keeper, meter[0]) as made:
            head, body = ask(made, post(ASKED))
            assert body == error
            assert value(head, b"x-taximeter-call-id") == meter[1][0].id.encode()
            keeper.destination = to(1, route=CHAT)
            head, _ = ask(made, post(ASKED))
    assert head.startswith(b"HTTP/1.1 502 ")
    assert value(head, b"x-taximeter-call-id") == meter[1][1].id.encode()
    assert [event.outcome for event in meter[1]] == ["failed", "interrupted"]


def test_a_stream_that_breaks_off_is_booked_as_that(meter: tuple[Meter, list[CallEvent]]) -> None:
    """Interrupted by the upstream, or cancelled by the client."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(chunks(TEXT % b"")[:-5])
        if upstream.connections > 1:
            peer.gone()

    with Upstream(script) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT), needs_body=True)
        with gateway(keeper, meter[0]) as made:
            for _ in range(2):
                with Client(made) as client:
                    client.send(post(STREAM))
                    client.until(b"hey")
                    if upstream.connections == 1:
                        client.to_the_end()
                upstream._threads[-1].join(5)
    assert [event.outcome for event in meter[1]] == ["interrupted", "cancelled"]


@pytest.mark.parametrize(("most", "outcome"), [(100_000, "completed"), (10, "cancelled")])
def test_an_abandoned_stream_may_be_read_for_the_books(
    meter: tuple[Meter, list[CallEvent]], most: int, outcome: str
) -> None:
    """With ``on_disconnect = "drain"`` the rest is read up to a bound, and the call has its usage."""
    gone = threading.Event()
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(chunks(TEXT % b"")[:-5])
        assert gone.wait(5)
        rest = chunks(TEXT % b"", USAGE, DONE).partition(b"\r\n\r\n")[2]
        peer.send(rest[:100] if most < len(rest) else rest)
        peer.gone()

    meter[0].listeners.on("call_closed", lambda _: ended.set())
    with Upstream(script) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT), needs_body=True)
        with gateway(keeper, meter[0], on_disconnect="drain", max_drained_bytes=most) as made:
            with Client(made) as client:
                client.send(post(STREAM))
                client.until(b"hey")
            with Client(made) as other:  # once it is served, the first one's end has been seen
                other.send(b"BAD\r\n")
                other.to_the_end()
            gone.set()
            assert ended.wait(5)
    [event] = meter[1]
    assert (event.outcome, event.cost is not None) == (outcome, outcome == "completed")


def test_a_call_that_cannot_be_written_down_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the settings say so: 503, and the upstream hears nothing."""
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr("logging.Logger.error", lambda *_args, **_said: None)
    refusing = Meter(
        Settings(store=f"sqlite:///{tmp_path}/m", journal=tmp_path / "taken" / "j", on_meter_failure="refuse")
    )
    with (
        Upstream(answering(whole())) as upstream,
        gateway(Keeper(to(upstream.port, route=CHAT), needs_body=True), refusing) as made,
    ):
        head, body = ask(made, post(ASKED))
    assert head.startswith(b"HTTP/1.1 503 ")
    assert msgspec.json.decode(body)["code"] == "meter_unavailable"
    assert upstream.requests == []


def test_the_models_own_name_goes_upstream(meter: tuple[Meter, list[CallEvent]]) -> None:
    """Where ``provider/model`` was asked for; every other byte stays."""
    with Upstream(answering(whole())) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, model_rewrite=b"gpt-4o"), needs_body=True)
        with gateway(keeper, meter[0]) as made:
            ask(made, post(ASKED.replace(b"gpt-4o", b"openai/gpt-4o")))
    assert upstream.requests[0].endswith(b"\r\n\r\n" + ASKED)
    assert keeper.bodies == [ASKED.replace(b"gpt-4o", b"openai/gpt-4o")]


def test_callers_conversations_are_kept_apart(meter: tuple[Meter, list[CallEvent]]) -> None:
    """A second call with the same messages is in a session with the first of its own caller only."""
    longer = ASKED.replace(b"}]", b'},{"role":"assistant","content":"hello"},{"role":"user","content":"go on"}]')
    with Upstream(answering(whole())) as upstream:
        destination = to(upstream.port, route=CHAT)
        for key, asked in (("k-1", ASKED), ("k-2", longer), ("k-1", longer)):
            keeper = Keeper(destination, needs_body=True, caller=Caller(key, Scope(), cost_in_usage=False))
            with gateway(keeper, meter[0]) as made:
                ask(made, post(asked))
    first, other, second = (event.scope.session for event in meter[1])
    assert first != other
    assert first == second


@pytest.mark.parametrize("cut", [1, 50, 10_000])
def test_the_cost_is_put_into_a_stream_that_states_its_usage(meter: tuple[Meter, list[CallEvent]], cut: int) -> None:
    """Before the call is over, from what has been read so far; not a byte beside it changes."""
    stated = TEXT % NULL + USAGE + DONE
    answer = chunks(*[stated[at : at + cut] for at in range(0, len(stated), cut)])

    def words(caller: str, call: Call, event: CallEvent | None) -> bytes:
        assert (caller, call.closed, event) == ("k-1", False, None)
        return b'"cost_usd":"1"'

    with Upstream(answering(answer)) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, cost_in_usage=True), needs_body=True)
        with Gateway(lambda: keeper, ServingSettings(), meter[0], words=words) as made, Client(made) as client:
            client.send(post(STREAM).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            got = client.to_the_end()
    assert unchunked(got) == stated.replace(b'"total_tokens":1100', b'"total_tokens":1100,"cost_usd":"1"')


@pytest.mark.parametrize("asked", [ASKED, STREAM])
def test_words_that_fail_do_no_harm(
    meter: tuple[Meter, list[CallEvent]], monkeypatch: pytest.MonkeyPatch, asked: bytes
) -> None:
    """The answer passes without them, and the failure is counted."""
    monkeypatch.setattr("logging.Logger.error", lambda *_args, **_said: None)

    def words(caller: str, call: Call, event: CallEvent | None) -> bytes:
        raise OSError(caller, call, event)

    stated = TEXT % NULL + USAGE + DONE
    with Upstream(answering(whole() if asked is ASKED else chunks(stated))) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, cost_in_usage=True), needs_body=True)
        with Gateway(lambda: keeper, ServingSettings(), meter[0], words=words) as made, Client(made) as client:
            client.send(post(asked).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            got = client.to_the_end()
    assert (got.partition(b"\r\n\r\n")[2] if asked is ASKED else unchunked(got)) == (BODY if asked is ASKED else stated)
    assert meter[0].failures["words"] == 1
