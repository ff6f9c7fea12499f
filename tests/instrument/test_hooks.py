"""What is hooked when, and that nothing else is changed by it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

import taximeter
from taximeter.errors import ConfigError
from taximeter.event import CallEvent
from taximeter.instrument import hooks
from taximeter.meter import Meter
from taximeter.testing import Simulator

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello there"}]}


def run(code: str) -> str:
    """What a Python of its own prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_hooking_imports_nothing() -> None:
    """No library that is hooked, nothing heavy, no thread, and it is soon done."""
    code = """
import sys, threading, time
before = time.perf_counter()
import taximeter
taximeter.instrument()
taken = time.perf_counter() - before
print(sorted({name.partition(".")[0] for name in sys.modules} & {
    "httpx", "httpx2", "urllib3", "aiohttp", "requests", "asyncio", "ssl", "sqlalchemy", "genai_prices", "http"
}), threading.active_count(), taken)
"""
    libraries, threads, taken = run(code).rsplit(" ", 2)
    assert (libraries, threads) == ("[]", "1")
    assert float(taken) < 0.5  # 0.02 s on an idle machine


def test_a_library_that_is_imported_later_is_hooked() -> None:
    """And keeps its own loader; taking the hooks off puts back the very functions, and waits for nothing any more."""
    code = """
import sys, taximeter
taximeter.instrument()
taximeter.instrument()
import httpx2
ours = httpx2.HTTPTransport.handle_request, httpx2.AsyncHTTPTransport.handle_async_request
theirs = tuple(each.__wrapped__ for each in ours)
print(type(httpx2.__loader__).__name__, type(httpx2.__spec__.loader).__name__, hasattr(theirs[0], "__wrapped__"))
print([each.__qualname__ for each in ours])
finders = len(sys.meta_path)
taximeter.uninstrument()
taximeter.uninstrument()
print((httpx2.HTTPTransport.handle_request, httpx2.AsyncHTTPTransport.handle_async_request) == theirs)
print(finders - len(sys.meta_path))
"""
    names = "['HTTPTransport.handle_request', 'AsyncHTTPTransport.handle_async_request']"
    assert run(code).splitlines() == ["SourceFileLoader SourceFileLoader False", names, "True", "1"]


def test_the_package_may_be_called() -> None:
    """``taximeter.instrument()`` works whether or not the package of that name was imported before."""
    code = """
taximeter.instrument("httpx2")
from taximeter import instrument
instrument("httpx2")
import taximeter.instrument.hooks
taximeter.instrument("httpx2")
print(sorted(taximeter.instrument.hooks._hooks.waiting))
"""
    for before in ("", ".instrument", ".instrument.hooks"):
        assert run(f"import taximeter{before}{code}") == "['httpx2']"


def test_only_what_is_named_is_hooked(meter: Meter) -> None:
    """And what nobody knows is an error that says what there is."""
    before = httpx2.HTTPTransport.handle_request
    taximeter.instrument("urllib3")
    assert httpx2.HTTPTransport.handle_request is before
    taximeter.instrument("httpx2")
    assert httpx2.HTTPTransport.handle_request is not before
    with pytest.raises(ConfigError, match=r"curl.*aiohttp, httpx, httpx2, urllib3"):
        taximeter.instrument("curl")
    assert not meter.failures


def test_a_library_that_cannot_be_hooked_still_imports(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its calls are not metered, and that is logged and kept."""
    monkeypatch.delattr(httpx2, "AsyncHTTPTransport")
    before = httpx2.HTTPTransport.handle_request
    taximeter.instrument("httpx2")
    assert "AsyncHTTPTransport" in hooks.problems()["httpx2"]
    assert "httpx2 cannot be metered" in caplog.text
    assert httpx2.HTTPTransport.handle_request is before
    monkeypatch.undo()
    taximeter.instrument("httpx2")
    assert hooks.problems() == {}
    taximeter.uninstrument()


def test_under_somebody_elses_wrapper(meter: Meter, provider: Simulator, events: list[CallEvent]) -> None:
    """Ours stays where it is when others wrapped it, does nothing while it is off, and books once when it is on."""
    original: Callable[..., Any] = httpx2.HTTPTransport.handle_request
    assert meter.settings.enabled
    taximeter.instrument("httpx2")
    ours: Callable[..., Any] = httpx2.HTTPTransport.handle_request
    seen: list[str] = []

    def theirs(self: Any, request: Any) -> Any:
        seen.append(request.method)
        return ours(self, request)

    url = provider.url() + "/chat/completions"
    httpx2.HTTPTransport.handle_request = theirs
    try:
        with httpx2.Client() as client:
            for on, booked in ((False, 0), (True, 1), (False, 1)):
                (taximeter.instrument if on else taximeter.uninstrument)()
                client.post(url, json=ASK)
                assert len(events) == booked
        assert seen == ["POST"] * 3
        assert httpx2.HTTPTransport.handle_request is theirs
    finally:
        httpx2.HTTPTransport.handle_request = original


def test_uninstrumented_in_the_midst_of_a_call(meter: Meter, provider: Simulator, events: list[CallEvent]) -> None:
    """A call that is under way is metered to its end."""
    assert meter.settings.enabled
    taximeter.instrument("httpx2")
    with httpx2.Client() as client, client.stream("POST", provider.url() + "/chat/completions", json=ASK) as response:
        taximeter.uninstrument()
        response.read()
    assert [event.outcome for event in events] == ["completed"]


def test_other_traffic_costs_next_to_nothing(meter: Meter) -> None:
    """Around a microsecond a request; generously bounded here, measured in the benchmarks."""
    from taximeter.instrument.exchange import send  # noqa: PLC0415 - loads the meter

    request = httpx2.Request("GET", "https://example.com/api/users?id=3")
    send(len, [])  # type: ignore[arg-type] - not a request at all: counted, and handed on
    assert meter.failures.pop("hook") == 1
    handed: list[object] = []
    times: list[float] = []
    for _ in range(5):
        before = time.perf_counter()
        for _ in range(2000):
            send(handed.append, request)
        times.append((time.perf_counter() - before) / 2000)
    assert len(handed) == 10_000
    assert min(times) < 20e-6
