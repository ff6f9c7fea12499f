"""One JSON value a line, and one array whose elements come one by one."""

from __future__ import annotations

import pytest

from taximeter.errors import WireError
from taximeter.wire.idle import IdlePattern
from taximeter.wire.ndjson import JsonArrayFraming, NdjsonFraming
from tests.wire.making import dump, pieces


def cut_lines(body: bytes, size: int) -> list[bytes]:
    """The values of lines that come in pieces of ``size`` bytes."""
    found: list[bytes] = []
    framing = NdjsonFraming(lambda _name, data, _raw: found.append(data), IdlePattern())
    for piece in pieces(body, size):
        framing.feed(piece)
    framing.close()
    return found


def cut_array(body: bytes, size: int) -> tuple[list[bytes], bool]:
    """The elements of an array that comes in pieces of ``size`` bytes, and whether it was closed."""
    found: list[bytes] = []
    framing = JsonArrayFraming(lambda _name, data, _raw: found.append(data), IdlePattern())
    for piece in pieces(body, size):
        framing.feed(piece)
    framing.close()
    return found, framing.closed


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1}\n{"b":2}\n',
        b'{"a":1}\r\n{"b":2}\r\n',
        b'\n\n{"a":1}\n\n \n{"b":2}\n\n',
        b'{"a":1}\n{"b":2}',
    ],
    ids=["lf", "crlf", "blank lines", "no last end"],
)
def test_lines(body: bytes) -> None:
    """A line is a value; blank ones are none, and the last needs no end."""
    for size in range(1, len(body) + 1):
        assert cut_lines(body, size) == [b'{"a":1}', b'{"b":2}']


@pytest.mark.parametrize("size", [1000, 65_536, 10_000_000])
def test_long_lines(size: int) -> None:
    """A line of 2 MB is read, in small pieces and in one."""
    body = dump({"a": "x" * 2_000_000}) + b"\n" + b'{"b":2}\n'
    long, short = cut_lines(body, size)
    assert (len(long), short) == (2_000_008, b'{"b":2}')


@pytest.mark.parametrize("size", [100, 3000])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\n{}\n"])
def test_line_without_end(monkeypatch: pytest.MonkeyPatch, size: int, ending: bytes) -> None:
    """A line larger than the limit is refused, whether it ends or not, and comes at once or in pieces."""
    monkeypatch.setattr("taximeter.wire.framing.MAX_EVENT_BYTES", 1000)
    with pytest.raises(WireError, match="a line of more than 1000 bytes"):
        cut_lines(b"x" * 2000 + ending, size)


TRICKY = [
    {"a": "plain"},
    {"a": "braces ]}{[ in text"},
    {"a": 'a quote " and then }'},
    {"a": "a backslash \\", "b": "\\\\"},
    {"a": '\\"', "b": ["]", {"c": "["}], "d": {}},
    {},
    {"a": "ünïcödé \u2028 🙂"},
    {"a": ""},
]


@pytest.mark.parametrize("separator", [b",", b"\n,\r\n", b" , "])
def test_array(separator: bytes) -> None:
    """Elements are cut at their own braces, not at those in texts, wherever the bytes are cut."""
    elements = [dump(value) for value in TRICKY]
    body = b"[" + separator.join(elements) + b"]\n"
    for size in range(1, len(body) + 1):
        assert cut_array(body, size) == (elements, True)


def test_array_that_is_pretty_printed() -> None:
    """White space within elements is kept as it is."""
    body = b'[{\n  "a": [\n    1\n  ]\n}\n,\r\n{\n  "b": 2\n}\n]\n'
    expected = [b'{\n  "a": [\n    1\n  ]\n}', b'{\n  "b": 2\n}']
    for size in range(1, len(body) + 1):
        assert cut_array(body, size) == (expected, True)


def test_array_that_was_cut() -> None:
    """The elements that were whole are delivered; the array is not closed."""
    body = b'[{"a":1},{"b":"' + b"x" * 50
    for size in (1, 3, 1000):
        assert cut_array(body, size) == ([b'{"a":1}'], False)


def test_empty_array() -> None:
    """An array of nothing is closed."""
    assert cut_array(b"[]", 1) == ([], True)
    assert cut_array(b" [ ] ", 1) == ([], True)


@pytest.mark.parametrize("size", [100, 3000])
@pytest.mark.parametrize("body", [b'[{"a":"' + b"x" * 2000, b'[{"a":' + b"1" * 2000, b'[{"a":"' + b"x" * 2000 + b'"}]'])
def test_element_without_end(monkeypatch: pytest.MonkeyPatch, size: int, body: bytes) -> None:
    """An element larger than the limit is refused, in a string or out of it, whether it ends or not."""
    monkeypatch.setattr("taximeter.wire.framing.MAX_EVENT_BYTES", 1000)
    with pytest.raises(WireError, match="an element of more than 1000 bytes"):
        cut_array(body, size)
