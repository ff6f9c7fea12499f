"""Captures are read from their three files; what is no capture says what is wrong with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taximeter.errors import WireError
from taximeter.importers.captures import load, meter_capture
from taximeter.pricing import PriceBook
from taximeter.usage import Usage

BODY = (
    b'{"id":"c","model":"gpt-4o-2024-08-06","created":1735689600,"choices":[],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":2}}'
)


def write(folder: Path, *, url: str = "api.openai.com/v1/chat/completions", **headers: str) -> Path:
    """A capture of a small chat."""
    folder.mkdir(parents=True, exist_ok=True)
    request = {"method": "POST", "url": url, "body": {"model": "gpt-4o"}}
    (folder / "request.json").write_text(json.dumps(request))
    response = {"status": 200, "headers": [[name.replace("_", "-"), value] for name, value in headers.items()]}
    (folder / "response.headers.json").write_text(json.dumps(response))
    (folder / "response.body").write_bytes(BODY)
    return folder


def test_a_capture(tmp_path: Path) -> None:
    """Who was called, for what model, and what it used."""
    metered = meter_capture(load(write(tmp_path)), PriceBook.load())
    event = metered.event
    assert (event.provider, event.api, event.request_model, event.response_model) == (
        "openai",
        "openai.chat",
        "gpt-4o",
        "gpt-4o-2024-08-06",
    )
    assert event.usage == Usage(input_tokens=9, output_tokens=2)
    assert event.outcome == "completed"
    assert event.stream is False


def test_the_id_is_of_the_content(tmp_path: Path) -> None:
    """Read twice, or copied elsewhere, it is the same event; with another body it is not."""
    first = load(write(tmp_path / "a")).id
    assert load(write(tmp_path / "b")).id == first
    (tmp_path / "b" / "response.body").write_bytes(BODY + b" ")
    assert load(tmp_path / "b").id != first


def test_where_the_price_date_comes_from(tmp_path: Path) -> None:
    """The caller's moment, else the Date header, else the body's own time, else today."""
    book = PriceBook.load()
    at, now = datetime(2025, 5, 5, tzinfo=UTC), datetime(2026, 6, 6, tzinfo=UTC)
    dated = load(write(tmp_path / "dated", Date="Tue, 27 Jan 2026 11:41:38 GMT"))
    metered = meter_capture(dated, book, at)
    assert (metered.price_date, metered.price_date_source) == (at, "at")
    metered = meter_capture(dated, book, now=now)
    assert (metered.price_date, metered.price_date_source) == (
        datetime(2026, 1, 27, 11, 41, 38, tzinfo=UTC),
        "date_header",
    )
    metered = meter_capture(load(write(tmp_path / "garbled", Date="<REDACTED>")), book, now=now)
    assert (metered.price_date, metered.price_date_source) == (datetime(2025, 1, 1, tzinfo=UTC), "body")
    undated = write(tmp_path / "undated")
    (undated / "response.body").write_bytes(BODY.replace(b"1735689600", b"0"))
    metered = meter_capture(load(undated), book, now=now)
    assert (metered.price_date, metered.price_date_source) == (now, "today")
    assert metered.event.started_at == now


@pytest.mark.parametrize("name", ["request.json", "response.headers.json", "response.body"])
def test_a_folder_that_is_no_capture(tmp_path: Path, name: str) -> None:
    """The file that is missing is named."""
    folder = write(tmp_path / "c")
    (folder / name).unlink()
    with pytest.raises(WireError, match=f"c is no capture: {name} cannot be read"):
        load(folder)


def test_a_file_that_cannot_be_read_as_what_it_is(tmp_path: Path) -> None:
    """The file that is broken is named, and how."""
    folder = write(tmp_path / "c")
    (folder / "response.headers.json").write_text('{"status": "fine"}')
    with pytest.raises(WireError, match=r"response\.headers\.json: Expected `int`, got `str`"):
        load(folder)


def test_a_call_of_no_known_format(tmp_path: Path) -> None:
    """A call that is no model call says so, and which."""
    with pytest.raises(WireError, match=r"POST api\.openai\.com/v1/files is no call of a known format"):
        load(write(tmp_path, url="api.openai.com/v1/files"))


@pytest.mark.parametrize(
    "url", ["https://api.openai.com/v1/chat/completions?x=1", "API.OPENAI.COM:443/v1/chat/completions"]
)
def test_urls(tmp_path: Path, url: str) -> None:
    """With or without scheme, port and query."""
    assert load(write(tmp_path, url=url)).route.provider == "openai"
