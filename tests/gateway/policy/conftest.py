"""A gate with keys, for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.policy.helpers import Keyed


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Keyed]:
    """A gate that takes virtual keys, of which there are none yet."""
    made = Keyed(tmp_path)
    yield made
    made.gate.close()
