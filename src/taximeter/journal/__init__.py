"""The journal: every call on file from before its request leaves until the store has it. See ``README.md`` here."""

from __future__ import annotations

from taximeter.journal.delivery import Sink, deliver
from taximeter.journal.journal import Durability, Journal
from taximeter.journal.records import OpenCall
from taximeter.journal.recovery import FolderState, Recovered, look, recover
from taximeter.journal.writer import Pace, Writer

__all__ = [
    "Durability",
    "FolderState",
    "Journal",
    "OpenCall",
    "Pace",
    "Recovered",
    "Sink",
    "Writer",
    "deliver",
    "look",
    "recover",
]
