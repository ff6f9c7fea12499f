"""Which turn and session a call belongs to, where nobody said: told by what its request repeats of earlier ones.

A request that carries the result of a tool call belongs to the turn of the answer that asked for it. A request whose
messages begin with all those of an earlier one belongs to that one's session. What is remembered is bounded, and the
oldest goes first; a conversation that is picked up after that starts a new session.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import RLock
from typing import Generic, NamedTuple, TypeVar

from taximeter.event import CallEvent, Scope, ToolResult
from taximeter.wire import Asking, ToolAnswer

_REMEMBERED = 8192

_KeyT = TypeVar("_KeyT", bound=Hashable)
_ValueT = TypeVar("_ValueT")


class _Place(NamedTuple):
    session: str
    turn: str


class _Pending(NamedTuple):
    place: _Place
    name: str
    answered_ns: int


class _Recent(Generic[_KeyT, _ValueT]):
    """A mapping that forgets what was put in longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[_KeyT, _ValueT] = OrderedDict()

    def get(self, key: _KeyT) -> _ValueT | None:
        return self._items.get(key)

    def put(self, key: _KeyT, value: _ValueT) -> None:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._size:
            self._items.popitem(last=False)

    def pop(self, key: _KeyT) -> _ValueT | None:
        return self._items.pop(key, None)


class Joined(NamedTuple):
    """Where a call belongs, and what its request tells of tools.

    Attributes:
        scope: the explicit scope with the inferred session and turn put where it has none.
        results: of the tool calls that the request answers.
        chain: to be remembered with the call's answer.
        attempt: which try it is of a request that failed shortly before.
    """

    scope: Scope
    results: tuple[ToolResult, ...]
    chain: tuple[int, ...]
    attempt: int = 1


class Conversations:
    """What is remembered of recent calls, to know the next ones by."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._lock = RLock()
        self._tools: _Recent[str, _Pending] = _Recent(remembered)
        self._chains: _Recent[int, _Place] = _Recent(remembered)
        self._answers: _Recent[str, _Place] = _Recent(remembered)
        self._failed: _Recent[int, int] = _Recent(remembered)

    def join(self, asking: Asking, explicit: Scope, call_id: str, now_ns: int, within: str = "") -> Joined:
        """Where a call belongs.

        Args:
            asking: what its request says.
            explicit: the scope in force, which wins.
            call_id: names a new turn or session that begins with it.
            now_ns: a monotonic clock.
            within: whose conversations are meant: what one caller repeats is nothing to another.
        """
        chain = _chain(asking.digests, within)
        pending: list[tuple[ToolAnswer, _Pending | None]] = []
        place: _Place | None = None
        same_turn = False
        before: int | None = None
        with self._lock:
            if asking.tool_answers:
                pending = [(answer, self._tools.pop(within + answer.id)) for answer in asking.tool_answers]
                place = next((found.place for _, found in pending if found is not None), None)
                same_turn = place is not None
            if place is None and asking.previous is not None:
                place = self._answers.get(within + asking.previous)
            if place is None:
                place = next((found for link in reversed(chain) if (found := self._chains.get(link)) is not None), None)
            if chain:
                before = self._failed.get(chain[-1])
        scope = Scope(
            explicit.project,
            explicit.session or (place.session if place else call_id),
            explicit.turn or (place.turn if place and same_turn else call_id),
            explicit.user,
            explicit.operation,
            explicit.tags,
        )
        results = tuple([_result(answer, found, now_ns) for answer, found in pending]) if pending else ()
        return Joined(scope, results, chain, 1 if before is None else before + 1)

    def remember(self, event: CallEvent, chain: tuple[int, ...], now_ns: int, within: str = "") -> None:
        """Keeps what later calls may refer to."""
        scope = event.scope
        if scope.session is None or scope.turn is None:
            return
        place = _Place(scope.session, scope.turn)
        with self._lock:
            if chain:
                self._chains.put(chain[-1], place)
                if event.outcome in ("failed", "interrupted"):
                    self._failed.put(chain[-1], event.attempt)
                else:
                    self._failed.pop(chain[-1])
            if event.response_id:
                self._answers.put(within + event.response_id, place)
            for call in event.tool_calls:
                if call.id:
                    self._tools.put(within + call.id, _Pending(place, call.name, now_ns))


def _result(answer: ToolAnswer, found: _Pending | None, now_ns: int) -> ToolResult:
    return ToolResult(
        id=answer.id,
        name=found.name if found else None,
        duration_ms=(now_ns - found.answered_ns) // 1_000_000 if found else None,
        failed=answer.failed,
        result_bytes=answer.result_bytes,
    )


def _chain(digests: tuple[int, ...], within: str) -> tuple[int, ...]:
    """For each message, a digest of it and all before it."""
    link = hash(within)
    return tuple([link := hash((link, digest)) for digest in digests])
