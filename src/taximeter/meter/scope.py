"""Who calls are attributed to, and what adds up over a turn and a session: carried by context variables.

A scope is inherited by tasks and by everything called within it. A thread inherits it through :func:`carry`.
"""

from __future__ import annotations

import contextvars
import random
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from threading import RLock
from typing import ParamSpec, TypeVar

import msgspec

from taximeter.event import CallEvent, Scope, uuid7
from taximeter.money import Money
from taximeter.usage import Count, Usage, minus, plus

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

_NOBODY = Scope()
_scope: contextvars.ContextVar[Scope] = contextvars.ContextVar("taximeter_scope", default=_NOBODY)
_turn: contextvars.ContextVar[Turn | None] = contextvars.ContextVar("taximeter_turn", default=None)
_session: contextvars.ContextVar[Session | None] = contextvars.ContextVar("taximeter_session", default=None)


class Tally:
    """What a number of calls come to. Safe to read while calls end in other threads.

    Attributes:
        calls: how many calls have ended.
        unpriced_calls: how many of them have no cost; what they cost is not known, and not 0.
        unknown_usage_calls: how many of them have no usage.
    """

    def __init__(self) -> None:
        self._lock = RLock()  # a finaliser may end a call in our midst
        self._counts: dict[str, Count] = {}
        self._known_pico = 0
        self.calls = 0
        self.unpriced_calls = 0
        self.unknown_usage_calls = 0

    def add(self, event: CallEvent) -> None:
        """Counts a call that has ended."""
        self.count(event.usage, event.cost)

    def count(self, usage: Usage | None, cost: Money | None) -> None:
        """Counts a call, or the part of one, by its figures."""
        with self._lock:
            self.calls += 1
            if usage is None:
                self.unknown_usage_calls += 1
            else:
                counts = self._counts
                for unit, count in usage.counts.items():
                    before = counts.get(unit, 0)
                    both_whole = type(count) is int and type(before) is int
                    counts[unit] = before + count if both_whole else plus(before, count)
            if cost is None:
                self.unpriced_calls += 1
            else:
                self._known_pico += cost.pico

    def merge(self, other: Tally) -> None:
        """Adds what another tally has counted."""
        for unit, count in other.usage.counts.items():
            self._counts[unit] = plus(self._counts.get(unit, 0), count)
        self._known_pico += other.known_cost.pico
        self.calls += other.calls
        self.unpriced_calls += other.unpriced_calls
        self.unknown_usage_calls += other.unknown_usage_calls

    def since(self, before: Tally | None) -> Tally:
        """What has come on top of an earlier state of this tally."""
        rest = Tally()
        rest.merge(self)
        if before is not None:
            for unit, count in before.usage.counts.items():
                rest._counts[unit] = minus(rest._counts[unit], count)
            rest._known_pico -= before.known_cost.pico
            rest.calls -= before.calls
            rest.unpriced_calls -= before.unpriced_calls
            rest.unknown_usage_calls -= before.unknown_usage_calls
        return rest

    @property
    def usage(self) -> Usage:
        """The sum of what is known of their usage."""
        with self._lock:
            return Usage(**self._counts)

    @property
    def known_cost(self) -> Money:
        """The exact sum of the costs that are known."""
        return Money(self._known_pico)

    @property
    def cost_usd(self) -> Decimal | None:
        """The exact cost in US dollars; ``None`` while a call of it has no price."""
        return None if self.unpriced_calls else self.known_cost.decimal


class Turn(Tally):
    """One exchange as the user sees it; it may drive many calls.

    Attributes:
        id: as events name it.
        number: which turn of its session it is, from 1; 1 outside of a session.
    """

    def __init__(self, identity: str, number: int, session: Session | None) -> None:
        super().__init__()
        self.id = identity
        self.number = number
        self.session = session

    def add(self, event: CallEvent) -> None:
        """Counts a call in the turn and in its session."""
        super().add(event)
        if self.session is not None:
            self.session.add(event)


class Session(Tally):
    """A conversation of turns.

    Attributes:
        id: as events name it.
        turns: how many turns have begun.
    """

    def __init__(self, identity: str) -> None:
        super().__init__()
        self.id = identity
        self.turns = 0

    def average(self, unit: str) -> Decimal | None:
        """How much of a unit a turn takes on average; ``None`` before the first turn, or where it was never counted."""
        count = self.usage.get(unit)
        return None if count is None or not self.turns else Decimal(count) / self.turns  # no float: a Decimal

    @property
    def average_cost_usd(self) -> Decimal | None:
        """What a turn costs on average; ``None`` before the first, or while a call has no price."""
        total = self.cost_usd
        return None if total is None or not self.turns else total / self.turns  # no float: a Decimal


def current_scope() -> Scope:
    """The attribution in force."""
    return _scope.get()


def current_turn() -> Turn | None:
    """The turn that calls made here belong to, if one was opened."""
    return _turn.get()


@contextmanager
def scope(
    *,
    project: str | None = None,
    session: str | None = None,
    user: str | None = None,
    operation: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Generator[Scope]:
    """Attributes the calls made within, in this task and those that it starts.

    What is not given is inherited from the scope around; tags are added to its tags.

    >>> with scope(project="shop", user="u-1"), scope(operation="chat", tags={"team": "web"}) as inner:
    ...     inner.project, inner.operation, inner.tags
    ('shop', 'chat', (('team', 'web'),))
    """
    outer = _scope.get()
    inner = Scope(
        project=outer.project if project is None else project,
        session=outer.session if session is None else session,
        turn=outer.turn,
        user=outer.user if user is None else user,
        operation=outer.operation if operation is None else operation,
        tags=tuple((dict(outer.tags) | dict(tags)).items()) if tags else outer.tags,
    )
    token = _scope.set(inner)
    try:
        yield inner
    finally:
        _scope.reset(token)


def put(found: Scope) -> contextvars.Token[Scope]:
    """Puts a scope in force as it is, for who works step by step; :func:`take_back` ends it."""
    return _scope.set(found)


def take_back(token: contextvars.Token[Scope]) -> None:
    """Puts the scope in force that :func:`put` took the place of."""
    _scope.reset(token)


@contextmanager
def turn(identity: str | None = None) -> Generator[Turn]:
    """One exchange: adds up the calls made within, sub-agents and tool rounds included.

    Args:
        identity: the turn's id; by default the id of a new one is made.
    """
    around = _session.get()
    number = 1
    if around is not None:
        around.turns += 1
        number = around.turns
    begun = Turn(identity or new_id(), number, around)
    scope_token = _scope.set(msgspec.structs.replace(_scope.get(), turn=begun.id))
    turn_token = _turn.set(begun)
    try:
        yield begun
    finally:
        _turn.reset(turn_token)
        _scope.reset(scope_token)


@contextmanager
def session(identity: str | Session | None = None) -> Generator[Session]:
    """A conversation: adds up the turns and calls made within.

    Args:
        identity: the session's id, or one that was open before and goes on; by default a new one is made.
    """
    begun = identity if isinstance(identity, Session) else Session(identity or new_id())
    scope_token = _scope.set(msgspec.structs.replace(_scope.get(), session=begun.id))
    session_token = _session.set(begun)
    try:
        yield begun
    finally:
        _session.reset(session_token)
        _scope.reset(scope_token)


def carry(function: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
    """The same function, run in the scope that is in force now, from whatever thread it is called.

    ``executor.submit(carry(work), …)``: a thread does not inherit a scope by itself. May be called any number of times,
    at once too.
    """
    context = contextvars.copy_context()

    def carried(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        return context.copy().run(function, *args, **kwargs)

    return carried


def new_id() -> str:
    """A new id of a call, a turn or a session: a UUID of version 7."""
    # Python seeds these dice anew in a forked child. The kernel's would cost more than all else that a call needs.
    return uuid7(time.time_ns() // 1_000_000, random.randbytes(10))  # noqa: S311 - an id is no secret
