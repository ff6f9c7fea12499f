"""pytest-xdist: tests that call, in several processes that share a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.conftest import Books, Program

pytestmark = pytest.mark.needs("xdist")

TESTS = '''
import os
import httpx2
import pytest
import taximeter

taximeter.instrument()

@pytest.mark.parametrize("number", range(12))
def test_asks(number, worker_id):
    """Asks."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"Hello {number}"}]}
    with taximeter.scope(operation=str(number), user=worker_id):
        assert httpx2.post(os.environ["PROVIDER"] + "/chat/completions", json=body).status_code == 200
'''


def test_every_call_once(program: Program, books: Books, tmp_path: Path) -> None:
    """When the run is over the store has each call of each of its processes."""
    (tmp_path / "test_calls.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    run = program("-m", "pytest", "-n", "3", "-p", "no:cacheprovider", "-W", "error", "test_calls.py")
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 0, said
    assert "12 passed" in said
    events = books.events()
    assert sorted(int(event.scope.operation or 0) for event in events) == list(range(12))
    assert {event.scope.user for event in events} == {"gw0", "gw1", "gw2"}
    assert books.differences(events) == []
    assert books.recover() == 0
