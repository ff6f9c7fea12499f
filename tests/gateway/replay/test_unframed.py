"""Answers without chunks: their ends are told to the client as they must be, whatever becomes of their bytes."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from taximeter.meter.runtime import Meter
from taximeter.meter.settings import Settings
from tests.gateway.http.stage import CHAT, SECONDS, Keeper, Peer, Upstream, gateway, to
from tests.gateway.replay.stage import without_cost

TEXT = b'data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"hey"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
ASKED = b'{"model":"gpt-4o","messages":[],"stream":true}'


def _asked(keeper: Keeper, meter: Meter | None) -> tuple[int, bytes]:
    with gateway(keeper, meter) as made:
        client = http.client.HTTPConnection("127.0.0.1", made.port, timeout=SECONDS)
        client.request("POST", "/v1/chat/completions", ASKED)
        with client.getresponse() as answer:
            got = answer.status, answer.read()
        client.close()
        return got


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("events", [(TEXT, TEXT), (TEXT, USAGE), (TEXT, USAGE, TEXT)])
def test_a_stream_that_may_be_edited_is_put_into_chunks(
    tmp_path: Path,
    events: tuple[bytes, ...],
    length: bool,  # noqa: FBT001 - a parameter
) -> None:
    """All of it, the events in which nothing is edited too."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    head += b"Content-Length: %d\r\n\r\n" % sum(map(len, events)) if length else b"\r\n"

    def script(peer: Peer) -> None:
        peer.read_request()
        for each in (head, *events):
            peer.send(each)

    meter = Meter(Settings(store=str(tmp_path / "store.sqlite3")))
    with Upstream(script) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, cost_in_usage=True), needs_body=True)
        status, body = _asked(keeper, meter)
    meter.close()
    assert (status, without_cost(body)) == (200, b"".join(events))
    assert (b"cost_usd" in body) == (USAGE in events)


def test_an_error_that_ends_with_its_connection_is_masked() -> None:
    """It is held as one with a length is."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 401 No\r\n\r\nyour key sk-")
        peer.send(b"secret is wrong")

    with Upstream(script) as upstream:
        assert _asked(Keeper(to(upstream.port)), None) == (401, b"your key *** is wrong")
