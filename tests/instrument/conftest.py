"""A meter of the test's own in this process, what it tells, and a provider to call."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from taximeter.event import CallEvent
from taximeter.instrument import uninstrument
from taximeter.instrument import urllib3 as urllib3_hook
from taximeter.meter import Meter, configure
from taximeter.meter.listeners import Listeners
from taximeter.testing import Simulator, running_simulator


@pytest.fixture(autouse=True, scope="module")
def clients_are_let_go() -> Iterator[None]:
    """Not every SDK's client can be closed: what a module's tests left goes with it, and not in the midst of others."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    """The process's meter, with a store of the test's own; nothing is hooked after the test."""
    made = configure(store=str(tmp_path / "store.sqlite3"))
    made.listeners = Listeners()
    yield made
    uninstrument()
    made.close()
    assert not made.failures


@pytest.fixture
def events(meter: Meter) -> list[CallEvent]:
    """The calls that have ended, in order."""
    told: list[CallEvent] = []
    meter.listeners.on("call_closed", told.append)
    return told


@pytest.fixture
def urllib3(meter: Meter) -> Iterator[Any]:
    """The package, hooked."""
    package: Any = import_module("urllib3")

    urllib3_hook.install(package)
    yield package
    urllib3_hook.uninstall(package)
    assert not meter.failures


@pytest.fixture
def provider() -> Iterator[Simulator]:
    """A simulated provider, new for each test."""
    with running_simulator() as running:
        yield running


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits, with garbage collected, until something is so; fails when it does not become so."""

    def wait(is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not is_so():
            assert time.monotonic() < until
            gc.collect()
            time.sleep(0.001)

    return wait
