"""The hours and days of a time zone, as the database computes them from a column of moments."""

from __future__ import annotations

from sqlalchemy import ColumnElement, case, literal

from taximeter.store import clock


def offset_of(column: ColumnElement[int], offsets: list[clock.Step]) -> ColumnElement[int]:
    """The offset in force at a column's moment: a balanced tree of comparisons, so that many years cost no more."""
    if len(offsets) == 1:
        return literal(offsets[0].offset)
    middle = len(offsets) // 2
    earlier, later = offset_of(column, offsets[:middle]), offset_of(column, offsets[middle:])
    return case((column < offsets[middle].since, earlier), else_=later)


def bucket(column: ColumnElement[int], offset: ColumnElement[int], width: int) -> ColumnElement[int]:
    """The number of the local hour or day (by ``width``) that a column's moment is in, counted from year 1.

    From year 1, because engines divide towards zero, and a moment before 1970 is negative.
    """
    return (column + offset + clock.TO_1970) // width
