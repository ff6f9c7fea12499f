"""urllib3: the application sees what it would see without us, and every request that leaves is booked once."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from taximeter.errors import JournalError
from taximeter.event import CallEvent
from taximeter.instrument import urllib3 as hook
from taximeter.meter import Meter, configure
from taximeter.meter.runtime import owned
from taximeter.testing import Simulator
from tests.instrument.asks import ASKING, STREAM, WHOLE, agree, error_of, packed, simulate, steady

pytestmark = pytest.mark.needs("urllib3")

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def urllib3(meter: Meter) -> Iterator[Any]:
    """The package, hooked."""
    package: Any = import_module("urllib3")

    hook.install(package)
    yield package
    hook.uninstall(package)
    assert not meter.failures


@pytest.fixture
def pool(urllib3: Any) -> Iterator[Any]:
    """A pool of connections."""
    with urllib3.PoolManager() as made:
        yield made
    gc.collect()  # a response that was left on purpose closes its socket here


@pytest.fixture
def url(provider: Simulator) -> str:
    """Where Chat Completions are."""
    return provider.url("openai") + "/chat/completions"


def post(pool: Any, url: str, body: object = None, knobs: str = "", **options: Any) -> Any:
    """Asks, with no retries unless told otherwise."""
    sent = packed(WHOLE) if body is None else packed(body) if isinstance(body, dict) else body
    return pool.request("POST", url, body=sent, headers=simulate(knobs), **{"retries": False, **options})


def in_pieces(response: Any) -> list[bytes]:
    """The body as `stream` gives it out."""
    return list(response.stream(decode_content=True))


def by_read(response: Any) -> list[bytes]:
    """The body in pieces of 100 bytes."""
    return list(iter(lambda: response.read(100), b""))


def by_read1(response: Any) -> list[bytes]:
    """The body as it is there."""
    return list(iter(lambda: response.read1(100), b""))


def by_readinto(response: Any) -> list[bytes]:
    """The body through a buffer of the application's."""
    response.auto_close = False  # as urllib3 wants it for this
    return list(io.BufferedReader(response, 256))


def by_line(response: Any) -> list[bytes]:
    """The body line by line."""
    return list(response)


def by_data(response: Any) -> list[bytes]:
    """The body at once."""
    return [response.data]


# ---- the very bytes


def seen(urllib3: Any, url: str, body: dict[str, Any], knobs: str, **options: Any) -> list[object]:
    """All that an application can see of a call."""
    with urllib3.PoolManager() as pool:
        try:
            answer = post(pool, url, body, knobs, **options)
            head = (answer.status, steady(answer.headers.items()), repr(type(answer)), answer.version_string)
            pieces = answer.data if options["preload_content"] else list(answer.stream())
        except urllib3.exceptions.HTTPError as error:
            return [type(error), str(error), type(error.__cause__)]
        return [head, pieces, answer.closed, answer.tell(), answer.length_remaining, answer.connection]


@pytest.mark.parametrize("knobs", ["", "gzip", "br", "deflate", "bytewise", "429", "drop=3", "no-usage"])
@pytest.mark.parametrize("body", [WHOLE, ASKING])
def test_the_application_sees_the_same(  # noqa: PLR0913, PLR0917 - what differs, each by itself
    urllib3: Any, url: str, provider: Simulator, events: list[CallEvent], body: dict[str, Any], knobs: str
) -> None:
    """Status, headers, the pieces of the body and the error, with the hook and without; and the call is booked."""
    for preload, decode in product((True, False), repeat=2):
        provider.forget()
        events.clear()
        hook.uninstall(urllib3)
        without = seen(urllib3, url, body, knobs, preload_content=preload, decode_content=decode)
        hook.install(urllib3)
        assert seen(urllib3, url, body, knobs, preload_content=preload, decode_content=decode) == without
        assert len(events) == 1
        assert agree(events[0], provider.wait_served(2)[1])


@pytest.mark.parametrize("read", [in_pieces, by_read, by_read1, by_readinto, by_line, by_data])
def test_every_way_to_read(
    pool: Any, url: str, provider: Simulator, events: list[CallEvent], read: Callable[[Any], list[bytes]]
) -> None:
    """However the body is read, the same bytes come, and all of them are counted."""
    for body, knobs in product((WHOLE, ASKING), ("", "gzip")):
        provider.forget()
        token = owned.set(True)
        plain = post(pool, url, body, knobs).data
        owned.reset(token)
        answer = post(pool, url, body, knobs, preload_content=False)
        assert not events
        assert b"".join(read(answer)) == plain
        assert [(event.outcome, event.usage_source) for event in events] == [("completed", "reported")]
        assert agree(events.pop(), provider.wait_served(2)[1])


def test_a_drained_answer_is_complete(pool: Any, url: str, events: list[CallEvent]) -> None:
    """What is read only to get the connection back was still answered."""
    post(pool, url, ASKING, preload_content=False).drain_conn()
    assert [(event.outcome, event.usage_source) for event in events] == [("completed", "reported")]


def test_connections_are_kept(pool: Any, url: str, events: list[CallEvent]) -> None:
    """A connection goes back into its pool as it would without us, and serves again."""
    for preload in (True, False, True):
        post(pool, url, ASKING, preload_content=preload).data  # noqa: B018 - reads it
    assert pool.connection_from_url(url).num_connections == 1
    assert [event.outcome for event in events] == ["completed"] * 3


def test_preloaded_and_kept(pool: Any, url: str) -> None:
    """`release_conn=False` leaves the connection with a response that is read already."""
    answer = post(pool, url, preload_content=True, release_conn=False)
    assert answer.connection is not None
    assert answer.json()["usage"]["prompt_tokens"] > 0
    answer.release_conn()
    assert answer.connection is None


# ---- how calls end


def test_break_out_of_a_stream(pool: Any, url: str, events: list[CallEvent]) -> None:
    """Who breaks off a stream has cancelled the call, and its usage is no guess called a report."""
    for _ in post(pool, url, ASKING, "stall=20", preload_content=False).stream():
        break
    assert [(event.outcome, event.status) for event in events] == [("cancelled", 200)]
    assert events[0].usage_source in {"unknown", "estimated"}


@pytest.mark.parametrize("body", [WHOLE, ASKING])
def test_closed_unread(pool: Any, url: str, events: list[CallEvent], body: dict[str, Any]) -> None:
    """An answer that is closed unread was cancelled, and its body is not read for us."""
    answer = post(pool, url, body, preload_content=False)
    answer.close()
    assert answer.tell() == 0
    assert [(event.outcome, event.usage_source) for event in events] == [("cancelled", "unknown")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib3's own, of the open socket
def test_let_go_unread(pool: Any, url: str, events: list[CallEvent], eventually: Wait) -> None:
    """An answer that nobody holds any more was cancelled, whoever collects it."""
    cycle: list[Any] = [post(pool, url, ASKING, preload_content=False)]
    cycle.append(cycle)
    del cycle
    eventually(lambda: bool(events))
    assert [event.outcome for event in events] == ["cancelled"]


def test_an_error_left_unread_failed(pool: Any, url: str, events: list[CallEvent]) -> None:
    """Who does not read the body of a 500 has not cancelled anything."""
    post(pool, url, WHOLE, "500", preload_content=False).close()
    assert [(event.outcome, event.status) for event in events] == [("failed", 500)]


def test_cut_by_the_peer(urllib3: Any, pool: Any, url: str, events: list[CallEvent]) -> None:
    """A stream that the peer cuts is interrupted, with the error that the application saw."""
    with pytest.raises(urllib3.exceptions.ProtocolError) as raised:
        post(pool, url, ASKING, "drop=3", preload_content=False).read()
    assert [(event.outcome, event.status) for event in events] == [("interrupted", 200)]
    assert events[0].error is not None
    assert (events[0].error.type, events[0].error.message) == ("ProtocolError", str(raised.value))


def test_read_in_one_go_a_cut_stream_is_estimated(urllib3: Any, pool: Any, url: str, events: list[CallEvent]) -> None:
    """What came before the cut is in the error alone, and is counted all the same."""
    body = {"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": WHOLE["messages"], "stream": True}
    with pytest.raises(urllib3.exceptions.ProtocolError):
        post(pool, url.replace("/openai/v1/chat/completions", "/anthropic/v1/messages"), body, "drop=4")
    assert [(event.outcome, event.usage_source) for event in events] == [("interrupted", "estimated")]
    assert events[0].usage is not None
    assert events[0].usage.get("input_tokens")


def test_a_short_body_that_is_not_checked(pool: Any, url: str, events: list[CallEvent]) -> None:
    """An application that takes what comes gets it; the call was interrupted."""
    answer = post(pool, url, WHOLE, "drop=2", preload_content=False, enforce_content_length=False)
    assert len(b"".join(by_read(answer))) == 128
    assert [event.outcome for event in events] == ["interrupted"]


def test_no_answer(urllib3: Any, pool: Any, url: str, events: list[CallEvent]) -> None:
    """A connection that closes before the head, a time-out and a refused connection are booked with their errors."""
    raised = [
        error_of(lambda: post(pool, url, WHOLE, "no-head"))[0],
        error_of(lambda: post(pool, url, WHOLE, "slow=500", timeout=0.05))[0],
        error_of(lambda: post(pool, "http://127.0.0.1:1/v1/chat/completions"))[0],
    ]
    errors = urllib3.exceptions
    assert raised == [errors.ProtocolError, errors.ReadTimeoutError, errors.NewConnectionError]
    assert [(event.outcome, event.status) for event in events] == [("interrupted", None)] * 3
    names = [event.error.type for event in events if event.error is not None]
    assert names == ["RemoteDisconnected", "ReadTimeoutError", "NewConnectionError"]


def test_a_timeout_within_the_body(urllib3: Any, pool: Any, url: str, events: list[CallEvent]) -> None:
    """A peer that falls silent in the midst of a stream has interrupted the call."""
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        list(post(pool, url, ASKING, "hang=2", timeout=0.1, preload_content=False).stream())
    assert [(event.outcome, event.error and event.error.type) for event in events] == [
        ("interrupted", "ReadTimeoutError")
    ]


# ---- each request is a call


def test_retries_are_calls(urllib3: Any, pool: Any, url: str, provider: Simulator, events: list[CallEvent]) -> None:
    """Each try that urllib3 makes is booked, with its number."""
    retries = urllib3.Retry(3, status_forcelist=[429], allowed_methods=None, backoff_factor=0)
    answer = post(pool, url, WHOLE, "429, retry-after=0, times=2", retries=retries)
    assert answer.status == 200
    assert [(event.outcome, event.attempt) for event in events] == [("failed", 1), ("failed", 2), ("completed", 3)]
    assert [agree(event, call) for event, call in zip(events, provider.wait_served(3), strict=True)] == [True] * 3


def test_the_sdk_counts_the_tries(pool: Any, url: str, events: list[CallEvent]) -> None:
    """What an SDK says of its retries is believed; what is no number is not."""
    for count in ("2", "many"):
        pool.request("POST", url, body=packed(WHOLE), headers={"X-Stainless-Retry-Count": count})
    pool.request("POST", url, body=packed(STREAM), headers={"amz-sdk-request": "attempt=4; max=5"})
    assert [event.attempt for event in events] == [3, 1, 4]


def test_booked_once(pool: Any, url: str, events: list[CallEvent]) -> None:
    """Under a hook that owns the call nothing is booked."""
    token = owned.set(True)
    post(pool, url)
    owned.reset(token)
    assert not events


@pytest.mark.parametrize(
    ("pool_url", "target", "place"),
    [
        ("https://api.openai.com", "/v1/responses?a=b", ("api.openai.com", "/v1/responses?a=b")),
        ("http://llm.internal:8000", "/v1/x", ("llm.internal:8000", "/v1/x")),
        ("https://llm.internal:80", "/v1/x", ("llm.internal:80", "/v1/x")),
        ("http://[::1]:8000", "/v1/x", ("[::1]:8000", "/v1/x")),
        ("http://proxy:3128", "http://user:word@llm.internal/v1/x?a=b", ("llm.internal", "/v1/x?a=b")),
        ("http://proxy:3128", "http://llm.internal:8000", ("llm.internal:8000", "")),
    ],
)
def test_where_a_request_goes(urllib3: Any, pool_url: str, target: str, place: tuple[str, str]) -> None:
    """Host and path, with the port where it is not the scheme's own, and through a proxy that forwards."""
    assert hook._place(urllib3.connection_from_url(pool_url), target) == place


# ---- what is left alone


def test_other_traffic_is_not_touched(pool: Any, provider: Simulator, meter: Meter, events: list[CallEvent]) -> None:
    """What is no call gets the library's own response."""
    answer = pool.request("GET", provider.url("openai") + "/models", preload_content=False)
    assert "_taximeter" not in vars(answer)
    assert answer.status == 200
    answer.drain_conn()
    assert not events
    assert not meter.totals.by("provider")


@pytest.mark.parametrize("kind", ["file", "iterator"])
def test_a_body_that_is_read_once_is_not_read_by_us(
    pool: Any, url: str, provider: Simulator, events: list[CallEvent], kind: str
) -> None:
    """A file or an iterator reaches the provider whole; the model is then known from the answer."""
    whole = packed(WHOLE)
    body = io.BytesIO(whole) if kind == "file" else iter([whole[:10], whole[10:]])
    assert post(pool, url, body).status == 200
    assert provider.wait_served(1)[0].model == "gpt-4o"
    assert (events[0].outcome, events[0].request_model) == ("completed", None)
    assert events[0].response_model is not None


def test_bodies_that_are_no_bytes_object(pool: Any, url: str, events: list[CallEvent]) -> None:
    """Text, byte arrays and views are sent as they are, and read."""
    for body in (packed(WHOLE).decode(), bytearray(packed(WHOLE)), memoryview(packed(WHOLE))):
        assert post(pool, url, body).status == 200
    assert [event.request_model for event in events] == ["gpt-4o"] * 3


def test_switched_off(urllib3: Any, pool: Any, url: str, events: list[CallEvent], tmp_path: Path) -> None:
    """With TAXIMETER_ENABLED=0 nothing is metered."""
    off = configure(enabled=False, store=str(tmp_path / "off.sqlite3"))
    assert "_taximeter" not in vars(post(pool, url))
    assert not off.totals.by("provider")
    assert not events
    hook.uninstall(urllib3)


def test_refused_when_it_cannot_be_journaled(
    pool: Any, url: str, provider: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With `on_meter_failure = refuse` a call that cannot be journaled does not leave, and says why."""
    (tmp_path / "file").touch()
    refusing = configure(store=str(tmp_path / "s.sqlite3"), journal=tmp_path / "file", on_meter_failure="refuse")
    with pytest.raises(JournalError):
        post(pool, url)
    assert not provider.served
    assert refusing.failures["journal"] == 1
    assert caplog.text.count("the meter failed (journal)") == 1
    allowing = configure(store=str(tmp_path / "s.sqlite3"), journal=tmp_path / "file", on_meter_failure="allow")
    assert post(pool, url).status == 200
    assert allowing.failures["journal"]


# ---- on and off


def test_on_twice_and_off(urllib3: Any) -> None:
    """Twice is once, and off puts back the very function that was there."""
    hook.uninstall(urllib3)
    before = urllib3.HTTPConnectionPool.__dict__["_make_request"]
    hook.install(urllib3)
    first = urllib3.HTTPConnectionPool.__dict__["_make_request"]
    hook.install(urllib3)
    assert urllib3.HTTPConnectionPool.__dict__["_make_request"] is first
    assert (first.__wrapped__, first.__qualname__) == (before, before.__qualname__)
    hook.uninstall(urllib3)
    assert urllib3.HTTPConnectionPool.__dict__["_make_request"] is before


def test_under_somebody_elses_wrapper(
    urllib3: Any, pool: Any, url: str, events: list[CallEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper that came after ours stays when ours goes, and ours does nothing then; put on anew, it books once."""
    ours = urllib3.HTTPConnectionPool._make_request
    with monkeypatch.context() as patching:
        theirs = lambda *args, **kwargs: ours(*args, **kwargs)  # noqa: E731, PLW0108 - hides what it wraps
        patching.setattr(urllib3.HTTPConnectionPool, "_make_request", theirs)
        hook.uninstall(urllib3)
        assert post(pool, url).status == 200
        assert not events
        hook.install(urllib3)
        assert post(pool, url).status == 200
        assert len(events) == 1
        hook.uninstall(urllib3)
    urllib3.HTTPConnectionPool._make_request = ours.__wrapped__


def test_a_response_outlives_the_hook(urllib3: Any, pool: Any, url: str, events: list[CallEvent]) -> None:
    """A call that was under way when the hook went is metered to its end."""
    answer = post(pool, url, ASKING, preload_content=False)
    hook.uninstall(urllib3)
    assert answer.data
    assert [(event.outcome, event.usage_source) for event in events] == [("completed", "reported")]


def test_an_older_urllib3_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A version whose insides are others is not hooked, and the log says so."""

    class Older:
        __version__ = "1.26.20"

        class HTTPConnectionPool:
            def _make_request(self, conn: object) -> None: ...

    before = Older.HTTPConnectionPool.__dict__["_make_request"]
    hook.install(Older)
    assert Older.HTTPConnectionPool.__dict__["_make_request"] is before
    assert "urllib3 1.26.20 is not metered" in caplog.text
