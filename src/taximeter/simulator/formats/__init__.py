"""Every wire format, as its provider speaks it."""

from taximeter.simulator.formats.speakers import SPEAKERS

__all__ = ["SPEAKERS"]
