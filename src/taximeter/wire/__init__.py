"""Bytes of a provider's answer in, usage out. See ``README.md`` in this folder."""

from taximeter.wire.format import Route
from taximeter.wire.reader import Reader
from taximeter.wire.reading import PartReading, Reading
from taximeter.wire.routes import APIS, recognise

__all__ = ["APIS", "PartReading", "Reader", "Reading", "Route", "recognise"]
