"""The provider of these tests."""

from __future__ import annotations

from taximeter.testing import simulator

__all__ = ["simulator"]
