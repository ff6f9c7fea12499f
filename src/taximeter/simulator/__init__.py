"""A provider that speaks every wire format, deterministically, with faults. See ``README.md`` in this folder."""

from taximeter.simulator.books import Served, Totals
from taximeter.simulator.knobs import WORDS
from taximeter.simulator.running import MOUNTS, Simulator

__all__ = ["MOUNTS", "WORDS", "Served", "Simulator", "Totals"]
