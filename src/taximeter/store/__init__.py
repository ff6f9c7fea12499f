"""The store: every event kept for good, and every report read from it. See ``README.md`` beside this file."""

from __future__ import annotations

from taximeter.store.location import Location, data_folder, locate
from taximeter.store.query import DIMENSIONS, ERROR_OUTCOMES, Added, Dimension, Query, ReportRow
from taximeter.store.store import Store, open_store

__all__ = [
    "DIMENSIONS",
    "ERROR_OUTCOMES",
    "Added",
    "Dimension",
    "Location",
    "Query",
    "ReportRow",
    "Store",
    "data_folder",
    "locate",
    "open_store",
]
