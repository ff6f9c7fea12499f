"""The cost of a call by its id, for whoever made it: from memory while it is fresh, then from the store."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from taximeter.errors import StoreError
from taximeter.event import CallEvent, Scope
from taximeter.gateway.faults import fault
from taximeter.gateway.plan import Answer
from taximeter.meter.call import Opened
from taximeter.store import Query, Store, open_store
from taximeter.usage import Count

_log = logging.getLogger("taximeter.gateway")

PATH: Final = b"/api/calls/"
"""What stands before the id."""

KEY_TAG: Final = "key"
"""The tag that names whose call it is: the id of its key."""

_ID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_MOST: Final = 2_000
_FRESH_S: Final = 60  # after that the store has it, and what was said of it since
_WAIT_S: Final = 1.0
"""How long a call is waited for that another worker has ended, and not stored yet."""
_EVERY_S: Final = 0.1


class Recent:
    """The calls of this worker that are under way, and those that have just ended. The oldest are forgotten first."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._ended: OrderedDict[str, tuple[CallEvent, float]] = OrderedDict()

    def opened(self, opened: Opened) -> None:
        """A call has begun."""
        self._open[opened.id] = opened
        if len(self._open) > _MOST:
            self._open.popitem(last=False)

    def closed(self, event: CallEvent) -> None:
        """A call has ended."""
        self._open.pop(event.id, None)
        self._ended[event.id] = event, time.monotonic()
        if len(self._ended) > _MOST:
            self._ended.popitem(last=False)

    def forget(self, call_id: str) -> None:
        """A call is in other books."""
        self._open.pop(call_id, None)

    def find(self, call_id: str) -> Opened | CallEvent | None:
        """A call that runs or has just ended."""
        found = self._open.get(call_id)
        if found is not None:
            return found
        event, at = self._ended.get(call_id, (None, 0.0))
        return event if event is not None and time.monotonic() - at < _FRESH_S else None


class CallTold(msgspec.Struct, frozen=True):
    """What is told of a call.

    Attributes:
        id: its id.
        state: ``open`` while it runs: how it ends and what it costs is then not known; else ``closed``.
        outcome: how it ended.
        cost_usd: what it cost, as a decimal; ``None`` when that is not known.
        usage: its counts, by unit; ``None`` when they are not known.
        usage_source: whose figures these are.
        provider: who was called.
        model: the model that served it, else the one asked for.
        scope: to whom it is attributed.
        started_at: when its request left.
        duration_ms: how long it took.
    """

    id: str
    state: str
    outcome: str | None
    cost_usd: str | None
    usage: Mapping[str, Count] | None
    usage_source: str
    provider: str
    model: str | None
    scope: dict[str, Any]
    started_at: datetime
    duration_ms: int | None


class CallAnswers:
    """Answers who asks what a call cost: the one who made it, and nobody else.

    Args:
        recent: the calls of this worker.
        store_url: where all others are.
    """

    def __init__(self, recent: Recent, store_url: str | None) -> None:
        self._recent = recent
        self._url = store_url
        self._store: Store | None = None
        self._lock = threading.Lock()

    async def answer(self, key_id: str | None, call_id: bytes) -> Answer:
        """What is told of a call.

        Args:
            key_id: who asks.
            call_id: what stands in the path.
        """
        if _ID.fullmatch(call_id) is None:
            return _unknown()
        name = call_id.decode()
        found = self._recent.find(name)
        try:
            if found is None:
                found = await self._stored(name)
        except StoreError as error:
            _log.warning("a call cannot be looked up: %s", error)
            return _refused(503, "store_unavailable", "the calls cannot be looked up now")
        if found is None or dict(found.scope.tags).get(KEY_TAG) != key_id:
            return _unknown()
        if isinstance(found, Opened):
            return 202, _JSON, msgspec.json.encode(_told_of_open(found))
        return 200, _JSON, msgspec.json.encode(_told(found))

    def close(self) -> None:
        """Lets go of the store."""
        with self._lock:
            if self._store is not None:
                self._store.close()
            self._store = None

    async def _stored(self, call_id: str) -> CallEvent | None:
        """A call from the store; one that is new is waited for, since it may just be on its way there."""
        young = datetime.now(UTC) - _time_of(call_id) < timedelta(hours=1)
        deadline = time.monotonic() + (_WAIT_S if young else 0)
        while True:
            found = await asyncio.to_thread(self._look_up, call_id)
            if found is not None or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_EVERY_S)

    def _look_up(self, call_id: str) -> CallEvent | None:
        with self._lock:
            if self._store is None:
                self._store = open_store(self._url)
            return next(iter(self._store.events(Query(id=call_id))), None)


def _time_of(call_id: str) -> datetime:
    """The moment that an id was made in (RFC 9562, version 7)."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(call_id[:8] + call_id[9:13], 16))


def _told(event: CallEvent) -> CallTold:
    return CallTold(
        id=event.id,
        state="closed",
        outcome=event.outcome,
        cost_usd=None if event.cost is None else str(event.cost),
        usage=None if event.usage is None else dict(event.usage.counts),
        usage_source=event.usage_source,
        provider=event.provider,
        model=event.model,
        scope=_scope(event.scope),
        started_at=event.started_at,
        duration_ms=event.duration_ms,
    )


def _told_of_open(opened: Opened) -> CallTold:
    facts = opened.facts
    return CallTold(
        id=facts.id,
        state="open",
        outcome=None,
        cost_usd=None,
        usage=None,
        usage_source="unknown",
        provider=facts.route.provider,
        model=facts.request_model,
        scope=_scope(facts.scope),
        started_at=facts.started_at,
        duration_ms=None,
    )


def _scope(scope: Scope) -> dict[str, Any]:
    return {name: getattr(scope, name) for name in scope.__struct_fields__} | {"tags": dict(scope.tags)}


def _unknown() -> Answer:
    return _refused(404, "not_found", "there is no such call, or it is another's")


def _refused(status: int, code: str, message: str) -> Answer:
    status, body = fault("openai", status, code, message)
    return status, _JSON, body
