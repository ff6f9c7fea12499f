"""Who a call is for: the key's word, over headers, over the body, over the trace."""

from __future__ import annotations

from taximeter.event import Scope
from taximeter.gateway.attribution import of_headers, of_trace
from tests.gateway.policy.helpers import Keyed, call, goes

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = (b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())
CHAT = "/v1/chat/completions"


def test_the_key_wins_over_headers_over_the_body_over_the_trace(keyed: Keyed) -> None:
    """Each fills what those before it left open."""
    key = keyed.key(project="bound", tags=(("team", "web"), ("key", "forged")))
    record = keyed.store.find("a")
    headers = (
        (b"X-Taximeter-Project", b"claimed"),
        (b"x-taximeter-user", b"head"),
        (b"x-taximeter-tags", b"team=evil, env=prod, odd, n%3Dm=a%2Cb, key=mine"),
        TRACEPARENT,
    )
    body = {
        "model": "m",
        "user": "body",
        "metadata": {"session_id": "s", "operation": "chat", "env": "x", "plan": "pro"},
    }
    scope = goes(call(keyed.gate, CHAT, *headers, key=key, body=body)).scope
    assert (scope.project, scope.user, scope.session, scope.operation) == ("bound", "head", "s", "chat")
    assert scope.turn == TRACE
    assert dict(scope.tags) == {"team": "web", "env": "prod", "n=m": "a,b", "plan": "pro", "key": record.id}


def test_a_turn_that_is_named_is_not_the_trace(keyed: Keyed) -> None:
    """A header's turn stays; without one, and without a body's, the trace is it, also where no body is wanted."""
    key = keyed.key()
    named = call(keyed.gate, CHAT, (b"x-taximeter-turn", b"t"), TRACEPARENT, key=key, body={"model": "m"})
    assert goes(named).scope.turn == "t"
    assert goes(call(keyed.gate, "/v1/models", TRACEPARENT, method="GET", key=key)).scope.turn == TRACE
    for odd in (
        b"",
        b"00-x",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-" + b"A" * 32 + b"-b7ad6b7169203331-01",
    ):
        assert of_trace(Scope(), odd).turn is None


def test_values_are_bounded_texts() -> None:
    """Of any encoding, at most 256 characters; half an emoji in a body does not stop a call."""
    said = of_headers(
        Scope(), {b"x-taximeter-user": "é".encode() * 300, b"x-taximeter-project": b"\xe9", b"x-taximeter-turn": b" "}
    )
    assert said == Scope(user="é" * 256, project="é")


def test_half_an_emoji_in_a_body(keyed: Keyed) -> None:
    """What cannot be kept as text is shown as a question mark."""
    body = b'{"model":"m","user":"a\\ud83d","metadata":{"b\\ud83d":"c"}}'
    scope = goes(call(keyed.gate, CHAT, key=keyed.key(), body=body)).scope
    assert scope.user is None or scope.user.encode()
    assert all(name.encode() and value.encode() for name, value in scope.tags)
