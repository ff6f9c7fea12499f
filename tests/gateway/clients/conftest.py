"""One gateway for all tests of a module, with empty books for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.clients.stage import Booth, booth, let_go


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booth]:
    """The gateway."""
    with booth(tmp_path_factory.mktemp("clients")) as made:
        yield made
    let_go()


@pytest.fixture
def place(opened: Booth) -> Booth:
    """The gateway, and nothing in its books."""
    opened.forget()
    return opened
