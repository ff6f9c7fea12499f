"""Bytes of a provider's answer in, usage out. See ``README.md`` in this folder."""

from taximeter.wire.asking import Asking, ToolAnswer, last_user_text, read_asking
from taximeter.wire.format import Route
from taximeter.wire.reader import Reader
from taximeter.wire.reading import PartReading, Reading
from taximeter.wire.routes import APIS, may_be_metered, recognise

__all__ = [
    "APIS",
    "Asking",
    "PartReading",
    "Reader",
    "Reading",
    "Route",
    "ToolAnswer",
    "last_user_text",
    "may_be_metered",
    "read_asking",
    "recognise",
]
