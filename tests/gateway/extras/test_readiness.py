"""Whether a worker should be sent calls."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from pathlib import Path

import pytest

from taximeter.gateway.config import Config, GatewaySettings, ServingSettings
from taximeter.gateway.opening import open_gate
from taximeter.gateway.readiness import Readiness
from taximeter.gateway.worker import Worker, listening
from tests.gateway.extras.stage import Place, send
from tests.gateway.http.stage import Keeper, to


def asked(readiness: Readiness) -> tuple[int, str]:
    """The status, and the reason where it is not ready."""
    status, _, body = asyncio.run(readiness.answer())
    return status, json.loads(body).get("reason", "")


def test_it_is_ready_while_calls_can_be_written_down(tmp_path: Path) -> None:
    """What is tried is taken away again; where nothing is metered there is nothing to try."""
    folder = tmp_path / "a" / "journal"
    assert asked(Readiness(lambda: folder)) == (200, "")
    assert list(folder.iterdir()) == []
    assert asked(Readiness(None)) == (200, "")


def test_it_is_not_ready_where_no_journal_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be made, and a disk that is full."""
    (tmp_path / "file").write_text("")
    status, why = asked(Readiness(lambda: tmp_path / "file" / "journal"))
    assert (status, why) == (503, f"calls cannot be written down: {os.strerror(errno.ENOTDIR)}")
    with Path("/dev/full").open("wb", 0) as full:
        monkeypatch.setattr("taximeter.gateway.readiness.tempfile.TemporaryFile", lambda **_: full)
        status, why = asked(Readiness(lambda: tmp_path))
    assert (status, why) == (503, f"calls cannot be written down: {os.strerror(errno.ENOSPC)}")


def test_it_is_not_ready_while_it_ends() -> None:
    """From the moment in which the worker is told to; it is healthy all the while."""
    readiness = Readiness(None)
    worker = Worker(lambda: Keeper(to(1)), [], ServingSettings(), None, drains=readiness.drain)
    worker.drain()
    assert asked(readiness) == (503, "draining")


def test_who_asks_is_answered(tmp_path: Path) -> None:
    """Over HTTP, without a key, by GET and by HEAD."""
    file = tmp_path / "file"
    readiness = Readiness(lambda: file)
    gate = open_gate(Config(gateway=GatewaySettings(auth="none")), environment={}, own={b"/readyz": readiness.answer})
    listen = listening("127.0.0.1", 0)
    worker = Worker(lambda: gate, [listen], ServingSettings(), None)
    ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(worker.run(ready.set)))
    thread.start()
    assert ready.wait(5)
    place = Place(listen.getsockname()[1])
    assert send(place, "/readyz").status == 200
    assert send(place, "/readyz", method="HEAD").status == 200
    file.rmdir()
    file.write_text("")
    assert send(place, "/readyz").status == 503
    assert send(place, "/healthz").status == 200
    worker.soon(worker.drain)
    thread.join(5)
    listen.close()
    assert not thread.is_alive()
