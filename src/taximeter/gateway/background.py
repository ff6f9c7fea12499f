"""Calls whose answer comes later: made in the background, and asked for by the id of their response until it is there.

Such a call is booked once, as what it was when it was made, when an answer to a poll states how it ended, whichever
worker has the call and whichever the poll. Until then it waits in a small file, which outlives every worker. A poll by
itself is never booked: it costs nothing, and the answers to all later ones state the same usage again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from taximeter.errors import JournalError
from taximeter.event import CallEvent, Part, total_cost
from taximeter.gateway.sharing import open_shared
from taximeter.journal import Durability, OpenCall
from taximeter.journal.records import pack_open, unpack_open
from taximeter.meter.call import Opened
from taximeter.meter.making import CallFacts, Prices
from taximeter.wire import Route

KEPT_S: Final = 24 * 3600
"""How long a call waits for a poll that tells how it ended, in seconds; then nobody will know."""

SWEEP_S: Final = 600

_APIS: Final = frozenset({"openai.responses", "gemini.interactions"})
_RUNNING: Final = frozenset({None, "queued", "in_progress"})
_HTTP_ERROR: Final = 400

_T = TypeVar("_T")
Kind = Literal["background", "poll"]


class _Body(msgspec.Struct):
    background: bool | None = None


_decode: Final = msgspec.json.Decoder(_Body).decode


def kind_of(route: Route, body: bytes | None) -> Kind | None:
    """Whether a call is made in the background, or asks after one that was; ``None`` for every other.

    Args:
        route: how it is read.
        body: of the request; a poll has none.
    """
    if route.api not in _APIS:
        return None
    if not body:
        return "poll"
    if b'"background"' not in body:
        return None
    try:
        return "background" if _decode(body).background else None
    except (msgspec.DecodeError, RecursionError):
        return None


def is_unfinished(event: CallEvent) -> bool:
    """Whether the answer to a call in the background leaves open how that will end."""
    return event.usage is None and event.response_id is not None and event.outcome != "failed"


def tells_the_end(event: CallEvent) -> bool:
    """Whether the answer to a poll states how its call ended."""
    if event.status is None or event.status >= _HTTP_ERROR or event.response_id is None:
        return False
    reported = event.usage is not None and event.usage_source == "reported"
    return reported or event.finish_reason not in _RUNNING


class Waiting(msgspec.Struct, frozen=True):
    """A call that waits for its end.

    Attributes:
        call: what is known of it.
        within: whose conversations it belongs to.
    """

    call: OpenCall
    within: str


class Background:
    """The calls that wait, of all workers.

    Args:
        path: of the file; made if need be.
        durability: as of the journal: with ``fsync`` what is in it is on the disk.

    Raises:
        OSError: when there can be no such file.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        self._file = open_shared(path, "calls in the background", _TABLE)
        self._file.execute(f"PRAGMA synchronous = {'FULL' if durability == 'fsync' else 'OFF'}")

    def put(self, response_id: str, opened: Opened) -> bool:
        """A call waits from now on; whether it does: a response that another call waits for has its call.

        Raises:
            OSError: when that cannot be written down now.
        """
        facts = opened.facts
        record = pack_open(
            OpenCall(
                id=facts.id,
                started_at=facts.started_at,
                provider=facts.route.provider,
                api=facts.route.api,
                request_model=facts.request_model,
                scope=facts.scope,
                stream=facts.stream,
                attempt=facts.attempt,
            )
        )
        row = (facts.route.provider, response_id, opened.within, record, int(time.time()))
        return self._do(lambda: self._file.execute(_PUT, row).rowcount == 1)

    def find(self, provider: str, response_id: str) -> Waiting | None:
        """The call that waits for a response.

        Raises:
            OSError: when that cannot be read now.
        """
        row = self._do(lambda: self._file.execute(_FIND, (provider, response_id)).fetchone())
        return None if row is None else _waiting(*row)

    def remove(self, provider: str, response_id: str) -> None:
        """A call is booked.

        Raises:
            OSError: when that cannot be written down now.
        """
        self._do(lambda: self._file.execute(_REMOVE, (provider, response_id)))

    def overdue(self) -> list[tuple[str, str, Waiting]]:
        """Calls that have waited too long: provider, response and what is known of each.

        Raises:
            OSError: when that cannot be read now.
        """
        rows = self._do(lambda: self._file.execute(_OVERDUE, (int(time.time()) - KEPT_S,)).fetchall())
        found = [(provider, response_id, _waiting(within, call)) for provider, response_id, within, call in rows]
        return [(provider, response_id, waiting) for provider, response_id, waiting in found if waiting is not None]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @staticmethod
    def _do(what: Callable[[], _T]) -> _T:
        try:
            return what()
        except sqlite3.Error as error:
            msg = f"the calls in the background: {error}"
            raise OSError(msg) from error


def _waiting(within: str, call: bytes) -> Waiting | None:
    try:
        return Waiting(unpack_open(call), within)
    except JournalError:
        return None


def booked(waiting: Waiting, told: CallEvent, book: Prices) -> tuple[Opened, CallEvent]:
    """The event of a call that has waited, from what a poll was told: at the rates in force when the call was made."""
    call = waiting.call
    route = Route(call.api, call.provider)
    facts = CallFacts(
        id=call.id,
        started_at=call.started_at,
        route=route,
        request_model=call.request_model,
        scope=call.scope,
        attempt=call.attempt,
        stream=call.stream,
    )
    parts = tuple([_priced(part, call, book) for part in told.parts])
    took = (told.started_at - call.started_at).total_seconds() * 1000 + (told.duration_ms or 0)  # no float near money
    event = msgspec.structs.replace(
        told,
        id=call.id,
        started_at=call.started_at,
        scope=call.scope,
        request_model=call.request_model,
        attempt=call.attempt,
        parts=parts,
        cost=total_cost(parts),
        duration_ms=int(took),
        first_token_ms=None,
    )
    return Opened(facts, within=waiting.within), event


def _priced(part: Part, call: OpenCall, book: Prices) -> Part:
    """A part at the rates in force when its call was made; what had no price has none."""
    cost, model = part.cost, part.model or call.request_model
    if cost is None or cost.total is None or cost.card is None or part.usage is None or model is None:
        return part
    context = dict(cost.card.context)
    priced = book.price(part.usage, provider=call.provider, model=model, at=call.started_at, context=context)
    return msgspec.structs.replace(part, cost=priced)


_TABLE: Final = """
CREATE TABLE IF NOT EXISTS waiting (provider TEXT, response TEXT, within TEXT, call BLOB, at INT,
    PRIMARY KEY (provider, response)) WITHOUT ROWID;
"""
_PUT: Final = "INSERT INTO waiting VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_FIND: Final = "SELECT within, call FROM waiting WHERE provider = ? AND response = ?"
_REMOVE: Final = "DELETE FROM waiting WHERE provider = ? AND response = ?"
_OVERDUE: Final = "SELECT provider, response, within, call FROM waiting WHERE at < ?"
