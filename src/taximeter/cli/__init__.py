"""The command line: ``taximeter``. One file per command; each loads what it needs when it runs."""

from __future__ import annotations

from taximeter.cli.app import cli, main

__all__ = ["cli", "main"]
