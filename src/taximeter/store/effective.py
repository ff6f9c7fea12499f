"""The one query that every report and every export reads: events, with the latest word on each in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BooleanClauseList, ColumnElement, Select, Subquery, Table, and_, case, func, or_, select

from taximeter.store import clock
from taximeter.store.columns import FIGURES
from taximeter.store.query import Query
from taximeter.store.schema import corrections, events, parts

_FIGURES = ("usage_source", *FIGURES)
_EQUAL = {
    "id": events.c.id,
    "provider": events.c.provider,
    "api": events.c.api,
    "project": events.c.project,
    "session": events.c.session,
    "turn": events.c.turn,
    "user": events.c.user_id,
    "operation": events.c.operation,
    "outcome": events.c.outcome,
}


def effective_events(query: Query) -> Subquery:
    """The events that a query means, each with the figures of its latest correction (until ``as_of``) in place.

    Columns: those of ``events``, and ``record_seq``: the event's or correction's whose parts and counts are in force.
    ``query.model`` is not applied: see :func:`at_model`.
    """
    latest = select(func.max(corrections.c.seq)).where(corrections.c.event_seq == events.c.seq)
    if query.as_of is not None:
        latest = latest.where(corrections.c.recorded_at <= clock.micros(query.as_of, "as_of"))
    corrected = corrections.c.seq.is_not(None)
    figures = [case((corrected, corrections.c[name]), else_=events.c[name]).label(name) for name in _FIGURES]
    own = [column for column in events.c if column.name not in _FIGURES]
    return (
        select(*own, *figures, func.coalesce(corrections.c.seq, events.c.seq).label("record_seq"))
        .select_from(events.outerjoin(corrections, corrections.c.seq == latest.correlate(events).scalar_subquery()))
        .where(*_conditions(query))
        .subquery("effective")
    )


def original_events(ids: Sequence[str]) -> Select[Any]:
    """Events as they were first recorded, whatever has been said of them since; columns as the effective ones."""
    return select(events, events.c.seq.label("record_seq")).where(events.c.id.in_(ids))


def parts_of(effective: Subquery) -> BooleanClauseList | ColumnElement[bool]:
    """What joins the parts in force to their effective event, if it has any rows of them.

    It has none when there is no more to say than its own figures, at the model that :func:`model_of` gives.
    """
    return and_(parts.c.event_seq == effective.c.seq, parts.c.record_seq == effective.c.record_seq)


def model_of(effective: Subquery | Table) -> ColumnElement[str]:
    """The model that an event as a whole is reported by, as ``CallEvent.model`` says."""
    return func.coalesce(func.nullif(effective.c.response_model, ""), effective.c.request_model)


def at_model(effective: Subquery, model: str) -> ColumnElement[bool]:
    """Whether an effective event has a part at a model."""
    own = select(parts.c.position).where(parts_of(effective))
    return or_(own.where(parts.c.model == model).exists(), and_(model_of(effective) == model, ~own.exists()))


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    wanted = [column == getattr(query, name) for name, column in _EQUAL.items() if getattr(query, name) is not None]
    if query.since is not None:
        wanted.append(events.c.started_at >= clock.micros(query.since, "since"))
    if query.until is not None:
        wanted.append(events.c.started_at < clock.micros(query.until, "until"))
    if query.as_of is not None:
        wanted.append(events.c.recorded_at <= clock.micros(query.as_of, "as_of"))
    return wanted
