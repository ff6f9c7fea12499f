"""Events and corrections of every shape, as they lie in ``recorded_0001.sql``: written there at revision 0001."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from taximeter.event import CallEvent, Correction, ProviderError, Scope, ToolCall, ToolResult
from taximeter.money import Money
from taximeter.usage import Contradiction, Usage
from tests.store.helpers import NOW, SECONDS, call, priced, repriced, share

ROWS = Path(__file__).parent / "recorded_0001.sql"
"""A dump of the rows of a store at revision 0001, in which these events and then these corrections were recorded."""

_PARTS = (
    share("big", "1.5", tokens=40),
    share("small", None),
    share("big", "0.25", tokens=2),
    share("x", "1", billed=False),
)

EVENTS: tuple[CallEvent, ...] = (
    call("bare"),
    call(
        "asked", request_model="m", response_model="", outcome="failed", status=500, error=ProviderError("server_error")
    ),
    priced("plain", "m", "0.000000000001", stream=True, raw_usage='{"a":1}', first_token_ms=3, duration_ms=4),
    priced("later", "m", "2", started_at=NOW + timedelta(days=40), attempt=2, provider_cost=Money.usd("2.5")),
    call("whole", response_model="m", usage=Usage(input_tokens=7, input_audio_tokens=5), cost=Money.usd("0.1")),
    call("heard", response_model="m", usage=Usage(input_audio_seconds=SECONDS), parts=()),
    call("vast", response_model="m", usage=Usage(input_tokens=10**25, output_tokens=3), usage_source="reported"),
    call("mixed", response_model="big", usage=Usage(input_tokens=52), parts=_PARTS, usage_source="estimated"),
    call(
        "other",
        response_model="m",
        usage=Usage(input_tokens=9),
        cost=Money.usd("1"),
        parts=(share("n", "1", tokens=9),),
    ),
    call(
        "tools",
        scope=Scope("p", "s", "t", "u", "o", (("team", "x"), ("team", "y"))),
        tool_calls=(ToolCall("c1", "look", 12), ToolCall(None, "look")),
        tool_results=(ToolResult("c0", "see", 5, failed=False, result_bytes=9), ToolResult("c9")),
        contradictions=(Contradiction("total_disagrees", "input_tokens", "3 are not 4"),),
    ),
)

CORRECTIONS: tuple[Correction, ...] = (
    repriced("first word", EVENTS[2], "5"),
    repriced("last word", EVENTS[2], "6", share("m", "4"), share("q", "2")),
    repriced("as one", EVENTS[7], "7", tokens=3),
    repriced("no price", EVENTS[3], None, share("m", None)),
)
