"""CSV that a spreadsheet can open without running anything in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TextIO

from taximeter.money import Money

Cell = str | int | Decimal | Money | datetime | None

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection", read 2026-11), wide forms included.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - they are what is meant


class CsvText:
    """Writes rows. Text that a spreadsheet would take for a formula is preceded by an apostrophe; figures never are."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._line = io.StringIO(newline="")
        # So that a lone carriage return within a cell is quoted; Python before 3.13 quotes it only then.
        self._writer = csv.writer(self._line, lineterminator="\r\n")

    def row(self, cells: Sequence[Cell]) -> None:
        """Writes one row; ``None`` is an empty cell."""
        self._line.seek(0)
        self._line.truncate()
        self._writer.writerow([_text(cell) for cell in cells])
        self._file.write(self._line.getvalue().removesuffix("\r\n") + "\n")


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.isoformat()
    if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS):
        return f"'{cell}"
    return f"{cell:f}" if isinstance(cell, Decimal) else str(cell)
