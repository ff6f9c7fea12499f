"""``taximeter demo``: an application's calls, metered live, reported on, and held against what the provider says."""

from taximeter.cli.demo.command import CAPTURES, demo

__all__ = ["CAPTURES", "demo"]
