"""Turns and sessions are told by what requests repeat, and tools by what they answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec

from taximeter.event import CallEvent, Outcome, Scope, ToolCall, ToolResult
from taximeter.meter.conversations import Conversations, Joined
from taximeter.wire import Route, read_asking

CHAT = Route("openai.chat", "openai")
USER = {"role": "user", "content": "What is the weather?"}
ASKED = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "weather"}}]}
TOOL = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
SECOND = 1_000_000_000


class Talk:
    """Calls one after another, seconds apart."""

    def __init__(self, remembered: int = 100) -> None:
        self.known = Conversations(remembered)
        self.clock = 0
        self.count = 0

    def call(
        self,
        *messages: dict[str, Any],
        scope: Scope | None = None,
        answer: tuple[ToolCall, ...] = (),
        outcome: Outcome = "completed",
        within: str = "",
        **body: object,
    ) -> Joined:
        """Makes a call that ends at once."""
        self.clock += SECOND
        self.count += 1
        asking = read_asking(CHAT, json.dumps({"messages": messages, **body}).encode())
        joined = self.known.join(asking, scope or Scope(), f"call-{self.count}", self.clock, within)
        event = CallEvent(
            id=f"call-{self.count}",
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
            provider="openai",
            api="openai.chat",
            outcome=outcome,
            scope=joined.scope,
            response_id=f"resp-{self.count}",
            tool_calls=answer,
            attempt=joined.attempt,
        )
        self.known.remember(event, joined.chain, self.clock, within)
        return joined


def test_a_tool_result_joins_the_turn() -> None:
    """The second call carries the answer to the first one's tool call, two seconds later."""
    talk = Talk()
    first = talk.call(USER, answer=(ToolCall("c1", "weather"),))
    talk.clock += SECOND
    second = talk.call(USER, ASKED, TOOL)
    assert (first.scope.turn, first.scope.session) == ("call-1", "call-1")
    assert (second.scope.turn, second.scope.session) == ("call-1", "call-1")
    assert second.results == (ToolResult("c1", "weather", 2000, None, 5),)


def test_callers_do_not_see_each_others_conversations() -> None:
    """Where a process serves several, the same messages, tool calls and answers of another caller tie nothing."""
    talk = Talk()
    talk.call(USER, answer=(ToolCall("c1", "weather"),), within="one")
    other = talk.call(USER, ASKED, TOOL, within="two")
    assert (other.scope.turn, other.scope.session) == ("call-2", "call-2")
    assert other.results == (ToolResult("c1", None, None, None, 5),)
    own = talk.call(USER, ASKED, TOOL, within="one")
    assert (own.scope.turn, own.scope.session) == ("call-1", "call-1")
    assert talk.call(USER, previous_response_id="resp-1", within="two").scope.session != "call-1"
    assert talk.call(USER, previous_response_id="resp-1", within="one").scope.session == "call-1"


def test_longer_history_joins_the_session_but_not_the_turn() -> None:
    """The next question repeats the whole conversation: a new turn of the same session."""
    talk = Talk()
    talk.call(USER)
    second = talk.call(USER, {"role": "assistant", "content": "Sunny."}, {"role": "user", "content": "And tomorrow?"})
    third = talk.call(
        USER, {"role": "assistant", "content": "Sunny."}, {"role": "user", "content": "And tomorrow?"}, USER
    )
    other = talk.call({"role": "user", "content": "Something else"})
    assert (second.scope.session, second.scope.turn) == ("call-1", "call-2")
    assert (third.scope.session, third.scope.turn) == ("call-1", "call-3")
    assert other.scope.session == "call-4"


def test_a_named_predecessor_joins_the_session() -> None:
    """``previous_response_id``."""
    talk = Talk()
    talk.call(USER)
    assert talk.call(previous_response_id="resp-1").scope.session == "call-1"


def test_explicit_scope_wins() -> None:
    """What the application says is not overruled, and what it left open is inferred."""
    talk = Talk()
    talk.call(USER, scope=Scope(session="mine", turn="t", project="p"), answer=(ToolCall("c1", "weather"),))
    joined = talk.call(USER, ASKED, TOOL, scope=Scope(session="other"))
    assert (joined.scope.session, joined.scope.turn) == ("other", "t")


def test_retries_are_counted() -> None:
    """The same request after a failure is another attempt; after a success it is not."""
    talk = Talk()
    attempts = [
        talk.call(USER, outcome=outcome).attempt for outcome in ("failed", "interrupted", "completed", "completed")
    ]
    assert attempts == [1, 2, 3, 1]


def test_memory_is_bounded() -> None:
    """What was put in longest ago is forgotten; nothing grows."""
    talk = Talk(remembered=10)
    for number in range(100):
        talk.call({"role": "user", "content": f"{number}"}, answer=(ToolCall(f"id-{number}", "t"),))
    known = talk.known
    sizes = [len(getattr(known, name)._items) for name in ("_tools", "_chains", "_answers", "_failed")]
    assert sizes == [10, 10, 10, 0]


def test_an_answer_to_an_unknown_call_is_kept() -> None:
    """Its size is known, its name and duration are not."""
    joined = Talk().call(TOOL)
    assert joined.results == (ToolResult("c1", None, None, None, 5),)
    assert msgspec.structs.asdict(joined.results[0])["duration_ms"] is None
