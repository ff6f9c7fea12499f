"""The meter of this process: opens calls, journals them, prices them, tells who listens, and hands them to the store.

Importing opens nothing. The first call starts what is needed; a forked child starts anew.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from taximeter.errors import JournalError, TaximeterError
from taximeter.event import CallEvent, Content, Scope
from taximeter.journal import Journal, OpenCall, Recovered, Writer, recover
from taximeter.meter.alerts import Alerts
from taximeter.meter.call import Call, Opened
from taximeter.meter.contents import Redact, gone_over
from taximeter.meter.conversations import Conversations
from taximeter.meter.health import Health, prune
from taximeter.meter.listeners import FirstToken, Listener, Listeners, MeterFailure, cost_report
from taximeter.meter.making import CallFacts, NoPrices, Prices
from taximeter.meter.scope import Tally, current_scope, current_turn, new_id
from taximeter.meter.settings import Settings
from taximeter.meter.sink import StoreSink
from taximeter.meter.tallies import Totals
from taximeter.meter.toolruns import with_runs
from taximeter.pricing import PriceBook
from taximeter.store import locate
from taximeter.wire import Route, last_user_text, may_be_metered, read_asking, recognise

_log = logging.getLogger("taximeter")

_MOST_ROUTES = 4096
_NO_CALLS = frozenset({
    "files", "models", "batches", "uploads", "moderations", "tokenize", "detokenize", "count_tokens", "fine_tuning",
    "assistants", "threads", "vector_stores", "containers", "conversations", "load_lora_adapter", "health", "metrics",
})  # fmt: skip
"""What servers of models have below the same path, and what uses no tokens."""

owned: ContextVar[bool] = ContextVar("taximeter_owned", default=False)
"""Whether a call that is under way here is metered already: by a hook further out, which owns it."""

around: ContextVar[Callable[[], None] | None] = ContextVar("taximeter_around", default=None)
"""Is called when a call is metered here: who tracks from further out then books none of its own."""


class Meter:
    """The meter of a process.

    Attributes:
        settings: how it behaves.
        listeners: whom it tells.
        totals: the process's running totals.
        failures: how often each part of the meter failed.
        declared: endpoints that the application declared: host, path prefix, api, provider.
        redact: goes over what is kept of a call's contents, before it is written anywhere.
    """

    def __init__(self, settings: Settings, redact: Redact | None = None) -> None:
        self.settings = settings
        self.redact = redact
        self.listeners = Listeners()
        self.totals = Totals()
        self.health = Health(self.journal_folder)
        self.failures = self.health.failures
        self._alerts = Alerts(settings.alert_webhook, self.health.failure)
        self._conversations = Conversations()
        self._routes: dict[tuple[str, str, str], Route | None] = {}
        self.declared: list[tuple[str, str, str, str]] = []
        self._lock = threading.Lock()
        self._book: Prices | None = None
        self._journal: Journal | None = None
        self._writer: Writer | None = None
        self._warming: threading.Thread | None = None
        self._pid = os.getpid()

    # ---- which calls

    def declare(self, host: str, prefix: str, api: str, provider: str) -> None:
        """Calls to this host, below this path, are read as ``api`` and attributed to ``provider``."""
        self.declared.append((host.lower(), prefix.rstrip("/"), api, provider))
        self._routes.clear()

    def route(self, method: str, host: str, path: str) -> Route | None:
        """How a call is to be read; ``None`` when it is none of ours."""
        if not self.declared and not may_be_metered(path):
            return None
        key = (method, host, path)
        try:
            route = self._routes[key]
        except KeyError:
            route = self._find_route(method, host, path.partition("?")[0])
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            self._routes[key] = route
        if route is None and not owned.get():
            self.health.unmetered(method, host, path)
            if self._writer is None:
                self.health.save_seldom()
        return route

    def _find_route(self, method: str, host: str, path: str) -> Route | None:
        known = recognise(method, host, path)
        for place, prefix, api, provider in self.declared:
            if host.lower() == place and (path == prefix or path.startswith(f"{prefix}/")):
                if known is not None:
                    return Route(known.api, provider, known.model, known.stream)
                beside = not _NO_CALLS.isdisjoint(path.removeprefix(prefix).split("/"))
                return Route(api, provider) if method.upper() == "POST" and not beside else None
        return known

    # ---- the life of a call

    def open(  # noqa: PLR0913 - what can be said of a call
        self,
        route: Route,
        body: bytes | None,
        *,
        attempt: int = 1,
        provisional: bool = False,
        scope: Scope | None = None,
        within: str = "",
    ) -> Call | None:
        """A call is about to leave. ``None`` when a hook further out meters it already, or when it proves to be none.

        Args:
            route: how it is read, and who is called.
            body: of the request; ``None`` where it is not known.
            attempt: 1 for the first try.
            provisional: it is journaled, but may yet prove to be another call, so that nobody is told of it.
            scope: who it is attributed to; by default the scope in force.
            within: whose conversations it may belong to, where one process serves several callers: a name of theirs.

        Raises:
            JournalError: when it cannot be journaled and the settings say to refuse it then.
        """
        if owned.get() or not self.settings.enabled:
            return None
        try:
            opened = self._opened(route, body, attempt, scope or current_scope(), within, provisional=provisional)
        except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
            self.failed("open", error)
            return None
        if opened is None:
            return None
        outer = around.get()
        if outer is not None:
            outer()
        try:
            self._started().opened(_open_call(opened))
        except JournalError as error:
            self.failed("journal", error, opened.id)
            if self.settings.on_meter_failure == "refuse":
                raise
        except Exception as error:  # noqa: BLE001 - as above
            self.failed("journal", error, opened.id)
        if not provisional:
            self.listeners.tell("call_opened", opened)
        return Call(self, opened)

    def _opened(  # noqa: PLR0913 - as above
        self, route: Route, body: bytes | None, attempt: int, scope: Scope, within: str, *, provisional: bool
    ) -> Opened | None:
        asking = read_asking(route, body)
        if route.vague and (asking.model is None or asking.model == route.model):
            return None
        identity = new_id()
        joined = self._conversations.join(asking, scope, identity, time.monotonic_ns(), within)
        facts = CallFacts(
            id=identity,
            started_at=datetime.now(UTC),
            route=route,
            request_model=asking.model,
            scope=joined.scope,
            attempt=max(attempt, joined.attempt),
            stream=asking.stream,
            tool_results=joined.results if provisional else with_runs(joined.results, route.api),
        )
        said = last_user_text(route, body) if self.settings.capture == "full" else None
        return Opened(facts, joined.chain, current_turn(), within, said)

    def first_token(self, call_id: str, milliseconds: int) -> None:
        """The first byte of an answer has come."""
        if self.listeners.wanted("first_token"):
            self.listeners.tell("first_token", FirstToken(call_id, milliseconds))

    def finished(self, opened: Opened, event: CallEvent) -> None:
        """A call is over: it is journaled before anybody is told."""
        if self._pid != os.getpid():
            return  # a forked child lets go of its parent's calls
        try:
            self._started().closed(event)
        except Exception as error:  # noqa: BLE001 - as above
            self.failed("journal", error, event.id)
            if self._writer is None or not self._writer.rescue(event):
                self.failed("lost", error, event.id)
        self._conversations.remember(event, opened.chain, time.monotonic_ns(), opened.within)
        self.totals.add(event)
        if opened.turn is not None:
            opened.turn.add(event)
        self._tell(event)

    def content(self, said: Content | None, opened: Opened) -> Content | None:
        """What is kept of what was said: nothing of what the user's function could not go over."""
        content = said
        if opened.user_message is not None:
            content = msgspec.structs.replace(said or Content(), user_message=opened.user_message)
        if content is None or self.redact is None:
            return content
        try:
            return gone_over(content, self.redact)
        except Exception as error:  # noqa: BLE001 - whatever it raises
            self.failed("redact", error, opened.id)
            return None

    def dropped(self, opened: Opened) -> None:
        """A call is booked elsewhere: the journal forgets it."""
        if self._pid == os.getpid():
            self._started().dropped(opened.id)

    def _tell(self, event: CallEvent) -> None:
        listeners = self.listeners
        listeners.tell("call_closed", event)
        if event.cost is None:
            if event.usage is not None:
                listeners.tell("unpriced", event)
        elif listeners.wanted("cost"):
            listeners.tell("cost", cost_report(event))

    # ---- what it keeps going

    def start(self) -> None:
        """Starts what the first call would start, for a process that may wait long for it.

        What dead processes left is recovered from now on.
        """
        if not self.settings.enabled:
            return
        try:
            self._started()
        except Exception as error:  # noqa: BLE001 - a failure of the meter is counted; the first call tries again
            self.failed("journal", error)

    def book(self) -> Prices:
        """The price book, loaded once. Where it cannot be read, calls are booked without a cost, and it is told why."""
        book = self._book
        if book is None:
            fault: TaximeterError | None = None
            with self._lock:
                book = self._book
                if book is None:
                    try:
                        book = PriceBook.load(self.settings.rate_cards)
                    except TaximeterError as error:
                        book, fault = NoPrices(str(error)), error
                    self._book = book
            if fault is not None:
                self.failed("prices", fault)
        return book

    def _started(self) -> Journal:
        """The journal; the first call makes it, recovers what dead processes left, and starts the writer."""
        if self._journal is None:
            with self._lock:
                if self._journal is None:
                    self._journal = self._start()
        return self._journal

    def _start(self) -> Journal:
        sink = StoreSink(self.settings.store, self.failed, self.health.save_seldom)
        folder = self.journal_folder()
        journal = Journal.create(folder, durability=self.settings.durability)
        self._writer = Writer(journal, sink)
        self._warming = threading.Thread(target=self._warm, args=(folder, sink), name="taximeter-start", daemon=True)
        self._warming.start()
        return journal

    def _warm(self, folder: Path, sink: StoreSink) -> None:
        """What the first call need not wait for: the price book, and what dead processes left."""
        try:
            self.book()
            found: Recovered = recover(folder, sink)
            prune(folder)
        except Exception as error:  # noqa: BLE001 - as above; the next start tries again
            self.failed("recovery", error)
            return
        if found.finished_calls or found.unknown_calls or found.problems or found.set_aside:
            self.listeners.tell("recovered", found)

    def journal_folder(self) -> Path:
        """Where the journals of all processes that share the store lie."""
        return self.settings.journal or locate(self.settings.store).path.with_suffix(".journal")

    def failed(self, where: str, error: BaseException, call_id: str | None = None) -> None:
        """The meter failed: counted, logged once per kind with its cause, and told."""
        self.health.failure(where, error, call_id)
        if self.failures[where] == 1:
            _log.error("the meter failed (%s); calls go on, and may be missing from the books", where, exc_info=error)
        failure = MeterFailure(where, f"{type(error).__name__}: {error}", call_id)
        self.listeners.tell("meter_error", failure)
        self._alerts.raise_(failure)
        if self._writer is None or not self._writer.running:
            self.health.save_seldom()

    def flush(self, timeout: float = 30.0) -> bool:  # no float: seconds
        """Waits until every call that has ended is in the store; whether it is."""
        return self._writer is None or self._writer.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:  # no float: seconds
        """Ends the writer, with everything stored that can be in so many seconds, and lets go of the journal.

        A recovery that is under way has as long, too.
        """
        warming = self._warming
        if warming is not None and warming is not threading.current_thread():  # whom it tells may close it
            warming.join(timeout)
        with self._lock:
            if self._writer is not None:
                self._writer.stop(timeout)
            if self._journal is not None:
                self._journal.close()
            self._journal = self._writer = None
        self.health.close()
        self._alerts.close(timeout)


def _open_call(opened: Opened) -> OpenCall:
    facts = opened.facts
    return OpenCall(
        id=facts.id,
        started_at=facts.started_at,
        provider=facts.route.provider,
        api=facts.route.api,
        request_model=facts.request_model,
        scope=facts.scope,
        stream=facts.stream,
        attempt=facts.attempt,
    )


class _Process:
    """The one meter of this process, made when it is first asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.meter: Meter | None = None


_process = _Process()


def the_meter() -> Meter:
    """The meter of this process."""
    meter = _process.meter
    if meter is None:
        with _process.lock:
            meter = _process.meter
            if meter is None:
                meter = _process.meter = Meter(Settings.from_environment())
    return meter


def configure(*, redact: Redact | None = None, **settings: Any) -> Meter:  # noqa: ANN401 - checked by the settings
    """Sets how this process meters, over the environment. Before the first call; listeners and endpoints stay.

    Args:
        redact: goes over what is kept of a call's contents (``capture``), before it is written anywhere: a function of
            what it is (``user_message``, ``answer`` or ``tool_arguments``) and the text, which gives what is kept of
            it; ``None``: nothing. If it raises, nothing of that call is kept.
        settings: see :class:`Settings`.

    Raises:
        ConfigError: for a setting that there is not, or a value that it cannot have.
    """
    made = Meter(Settings.from_environment(None, **settings), redact)
    with _process.lock:
        before, _process.meter = _process.meter, made
    if before is not None:
        made.listeners = before.listeners
        made.declared.extend(before.declared)
        before.close()
    return made


def on(name: str, listener: Listener) -> Callable[[], None]:
    """Tells ``listener`` of calls while they happen; what is returned stops that.

    Args:
        name: ``call_opened`` (:class:`Opened`), ``first_token`` (:class:`FirstToken`), ``call_closed``
            (:class:`~taximeter.event.CallEvent`), ``cost`` (:class:`CostReport`), ``unpriced`` (the event),
            ``recovered`` (:class:`~taximeter.journal.Recovered`), ``meter_error`` (:class:`MeterFailure`).
        listener: called with what is in brackets, in the thread or task in which it happened; it should be quick. If
            it raises, that is logged and counted, and nothing else happens.

    Raises:
        ValueError: for another name.
    """
    return the_meter().listeners.on(name, listener)


def totals(by: str = "model") -> dict[str | None, Tally]:
    """What this process' calls come to so far: for code that steers by cost.

    Args:
        by: ``provider``, ``model``, ``api``, ``project``, ``user``, ``operation`` or ``outcome``.

    Raises:
        ValueError: for another dimension.
    """
    return the_meter().totals.by(by)


def drain(by: str = "model") -> dict[str | None, Tally]:
    """As :func:`totals`, but only what has come since the last drain by ``by``: for periodic reporting."""
    return the_meter().totals.by(by, drain=True)


def flush(timeout: float = 30.0) -> bool:  # no float: seconds
    """Waits until every call that has ended is in the store; whether it is, after so many seconds at most."""
    return the_meter().flush(timeout)


def _after_fork_in_child() -> None:
    before = _process.meter
    _process.lock = threading.Lock()
    if before is not None:  # its journal lets go of the parent's file by itself
        made = Meter(before.settings, before.redact)
        made.listeners = before.listeners
        made.declared.extend(before.declared)
        _process.meter = made


def _at_exit() -> None:
    if _process.meter is not None:
        _process.meter.health.save()


atexit.register(_at_exit)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
