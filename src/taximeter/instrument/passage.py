"""What hooks share: the way to the meter, and how the passage of an answer ends, whoever ends it.

Importing this loads nothing: a hook is installed long before there is something to meter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from taximeter.errors import JournalError

if TYPE_CHECKING:
    from taximeter.event import Outcome
    from taximeter.meter.call import Call
    from taximeter.meter.runtime import Meter

_HTTP_ERROR = 400
_RUNTIME = "taximeter.meter.runtime"


class _Loaded:
    """What is loaded once something needs it."""

    __slots__ = ("may_be_metered", "the_meter")

    def __init__(self) -> None:
        self.the_meter: Callable[[], Meter] | None = None
        self.may_be_metered: Callable[[str], bool] = bool


_loaded = _Loaded()


def meter_for(path: str) -> Meter | None:
    """The meter, where a call to this path may be one for it: a quick look, before anything else of a request is.

    Args:
        path: as sent, with or without query; or the whole URL.
    """
    find = _loaded.the_meter or _load(path)
    if find is None:
        return None
    meter = find()
    if meter.settings.enabled and (meter.declared or _loaded.may_be_metered(path)):
        return meter
    return None


class Asked(NamedTuple):
    """A request, as a hook finds it.

    Attributes:
        method: the HTTP method.
        host: where it goes, with its port unless that is the scheme's own.
        target: path and query, as sent.
        headers: its headers.
        body: its body, where that is there as a whole.
        attempt: which try it is, as far as the library knows.
    """

    method: str
    host: str
    target: str
    headers: Mapping[str, Any]
    body: bytes | None
    attempt: int = 1


def open_call(meter: Meter, asked: Asked) -> Call | None:
    """Opens the call that a request is; ``None`` when it is none of ours, or a hook further out owns it.

    Raises:
        JournalError: when it cannot be journaled and the settings say to refuse it then. Nothing else.
    """
    try:
        route = meter.route(asked.method, asked.host, asked.target.partition("?")[0])
        if route is None:
            return None
        return meter.open(route, asked.body, attempt=max(asked.attempt, attempt_of(asked.headers)))
    except JournalError:
        raise
    except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
        meter.failed("hook", error)
        return None


def attempt_of(headers: Mapping[str, Any]) -> int:
    """Which try this is, by what SDKs say of it: the OpenAI and Anthropic SDKs count retries, Amazon's counts tries."""
    try:
        said = headers.get("x-stainless-retry-count")
        if said is not None:
            return 1 + int(said)
        said = headers.get("amz-sdk-request")
        if said is not None:
            text = said.decode("latin-1") if isinstance(said, bytes) else str(said)
            return int(text.partition("attempt=")[2].partition(";")[0] or 1)
    except (ValueError, AttributeError):
        pass  # a header that an application made up; the attempt is not worth a call
    return 1


def not_answered(call: Call, error: BaseException) -> None:
    """A call is over before the head of an answer came.

    Args:
        call: the call.
        error: what the application is about to see. Cancellations of every kind are no ``Exception``.
    """
    if isinstance(error, Exception):
        call.close("interrupted", cut=True, error=error)
    else:
        call.close("cancelled", cut=True)


class Passage:
    """The answer to one call, on its way through the hook to the application.

    Args:
        call: the call.
        status: the HTTP status.
        headers: of the answer, in order.

    Attributes:
        feed: takes the next bytes of the body, as they came off the wire.
    """

    __slots__ = ("_call", "_refused", "feed")

    def __init__(self, call: Call, status: int, headers: Iterable[tuple[str, str]]) -> None:
        call.answered(status, headers)
        self._call = call
        self._refused = status >= _HTTP_ERROR
        self.feed = call.feed

    def ended(self, *, cut: bool = False) -> None:
        """The body is at its end.

        Args:
            cut: before the end that HTTP announced.
        """
        self._call.close(cut=cut)

    def broke(self, error: BaseException) -> None:
        """The body broke off, and the application sees ``error``. Cancellations of every kind are no ``Exception``."""
        if isinstance(error, Exception):
            self._close("interrupted", error)
        else:
            self.left()

    def left(self) -> None:
        """The application closed the answer before its end, or let go of it; may be told by a finalizer."""
        if not self._call.closed:
            self._close("cancelled")

    __del__ = left

    def _close(self, outcome: Outcome, error: Exception | None = None) -> None:
        from taximeter.instrument.closing import close  # noqa: PLC0415 - loaded with the meter

        # who leaves an error unread has not cancelled a call: it had failed
        close(self._call, None if self._refused else outcome, cut=True, error=error)


class Switch:
    """Whether a wrapper does anything: one that somebody else has wrapped since cannot be taken out, but it can be off.

    Each wrapper has its own: where one that was left behind lies under a new one, a call must not be booked twice.
    """

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = True

    def off(self) -> None:
        """From now on it hands on, and nothing else."""
        self.on = False


def patch(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Puts a wrapper in the place of a method.

    Args:
        owner: the class that defines the method.
        name: of the method.
        make: makes the wrapper from the original.

    Returns:
        Undoes it, unless somebody else wrapped the method since: theirs is left in place.
    """
    original = owner.__dict__[name]
    wrapper = make(original)
    for kept in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(wrapper, kept, getattr(original, kept))
    wrapper.__dict__["__wrapped__"] = original
    setattr(owner, name, wrapper)

    def undo() -> None:
        if owner.__dict__.get(name) is wrapper:
            setattr(owner, name, original)

    return undo


def _load(path: str) -> Callable[[], Meter] | None:
    """The way to the meter; it is not loaded before a path looks like one of ours."""
    from taximeter.wire import may_be_metered  # noqa: PLC0415 - not before the first request

    if _RUNTIME not in sys.modules and not may_be_metered(path):
        return None
    import_module("taximeter.instrument.closing")  # a finalizer will need it, and must not be the first to load it
    from taximeter.meter.runtime import the_meter  # noqa: PLC0415 - as above

    _loaded.may_be_metered = may_be_metered
    _loaded.the_meter = the_meter
    return the_meter
