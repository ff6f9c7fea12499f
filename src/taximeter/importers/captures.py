"""Captures: recorded exchanges, each a folder of ``request.json``, ``response.headers.json``, ``response.body``."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec

from taximeter.errors import WireError
from taximeter.event import CallEvent, content_id
from taximeter.meter import CallFacts, make_event
from taximeter.pricing import PriceBook
from taximeter.wire import Reader, Reading, Route, recognise

PriceDateSource = Literal["at", "date_header", "body", "today"]
"""Where the date of the prices came from: the caller, the ``Date`` header, the body's own time, or the clock."""

_FILES = "request.json, response.headers.json and response.body"
_READ_BYTES = 64 * 1024
_T = TypeVar("_T")


class _Request(msgspec.Struct):
    """``request.json``."""

    method: str
    url: str
    body: Any = None


class _Response(msgspec.Struct):
    """``response.headers.json``."""

    status: Annotated[int, msgspec.Meta(ge=0, le=999)]
    headers: list[tuple[str, str]] = []


class Capture(msgspec.Struct, frozen=True):
    """A recorded exchange, as it lies on disk.

    Attributes:
        folder: where.
        route: how its answer is read.
        request_model: the model that the request, or its path, asks for.
        status: the HTTP status.
        headers: of the response.
        body: of the response, as it came: still encoded where it was.
        id: derived from the three files' content.
    """

    folder: Path
    route: Route
    request_model: str | None
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    id: str


class MeteredCapture(msgspec.Struct, frozen=True):
    """A capture and what came of it.

    Attributes:
        capture: what was read.
        reading: what the answer says.
        event: the event, priced.
        price_date: the moment whose rates were applied.
        price_date_source: where that moment came from.
    """

    capture: Capture
    reading: Reading
    event: CallEvent
    price_date: datetime
    price_date_source: PriceDateSource


def load(folder: Path) -> Capture:
    """Reads a capture's files.

    Raises:
        WireError: when the folder is no capture, or its call is of no known format; says which file and why.
    """
    request_bytes = _file(folder, "request.json")
    response_bytes = _file(folder, "response.headers.json")
    body = _file(folder, "response.body")
    request = _decoded(folder, "request.json", request_bytes, _Request)
    response = _decoded(folder, "response.headers.json", response_bytes, _Response)
    host, _, rest = request.url.rpartition("://")[2].partition("/")
    route = recognise(request.method, host, "/" + rest.partition("?")[0])
    if route is None:
        msg = f"{folder}: {request.method} {request.url} is no call of a known format"
        raise WireError(msg)
    body_object = cast("dict[str, object]", request.body) if isinstance(request.body, dict) else {}
    asked = body_object.get("model")
    return Capture(
        folder=folder,
        route=route,
        request_model=asked if isinstance(asked, str) and asked else route.model,
        status=response.status,
        headers=tuple(response.headers),
        body=body,
        id=content_id(request_bytes, response_bytes, body),
    )


def meter_capture(
    capture: Capture, book: PriceBook, at: datetime | None = None, *, now: datetime | None = None
) -> MeteredCapture:
    """Reads and prices a capture.

    Args:
        capture: as :func:`load` gave it.
        book: prices it.
        at: the moment whose rates apply; by default the capture's own.
        now: the clock, asked only when nothing else gives a date.
    """
    reader = Reader(capture.route, status=capture.status, headers=capture.headers)
    for start in range(0, len(capture.body), _READ_BYTES):
        reader.feed(capture.body[start : start + _READ_BYTES])
    reading = reader.close()
    date, source = _price_date(capture, reading, at, now)
    facts = CallFacts(
        id=capture.id,
        started_at=date,
        route=capture.route,
        request_model=capture.request_model,
        status=capture.status,
    )
    return MeteredCapture(
        capture=capture,
        reading=reading,
        event=make_event(facts, reading, book),
        price_date=date,
        price_date_source=source,
    )


def _price_date(
    capture: Capture, reading: Reading, at: datetime | None, now: datetime | None
) -> tuple[datetime, PriceDateSource]:
    if at is not None:
        return at, "at"
    header = next((value for name, value in capture.headers if name.lower() == "date"), None)
    if header is not None:
        try:
            sent = parsedate_to_datetime(header)
        except ValueError:
            pass  # a date that was redacted or garbled is as good as none
        else:
            return sent.replace(tzinfo=sent.tzinfo or UTC).astimezone(UTC), "date_header"
    if reading.created is not None:
        return datetime.fromtimestamp(reading.created, UTC), "body"
    return now or datetime.now(UTC), "today"


def _file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        msg = f"{folder} is no capture: {name} cannot be read ({error.strerror}); a capture is a folder of {_FILES}"
        raise WireError(msg) from error


def _decoded(folder: Path, name: str, data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        msg = f"{folder} is no capture: {name}: {error}"
        raise WireError(msg) from error
