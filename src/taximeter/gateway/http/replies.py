"""Heads of answers as bytes: what may be in an upstream's, what of it a client gets, and how one of ours is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from taximeter.gateway.http.heads import BadMessage, Header

# ---- what an upstream sends

_STATUS_LINE: Final = re.compile(r"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n\x00]*)?\r\n")
_FIELD: Final = re.compile(r"^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\x00]*)\r\n", re.MULTILINE)
_OF_THE_CONNECTION: Final = frozenset({"connection", "keep-alive", "proxy-connection", "upgrade"})
_WATCHED: Final = _OF_THE_CONNECTION | {"content-length", "transfer-encoding", "content-type", "content-encoding"}
_NO_CONTENT: Final = (204, 304)
_FIRST_FINAL: Final = 200
_NOTHING: Final[frozenset[str]] = frozenset()


class AnswerHead(msgspec.Struct, frozen=True, gc=False):
    """The head of an answer, checked.

    Attributes:
        status: of three digits.
        raw: its bytes, with the blank line.
        pairs: names, in lower case, and values.
        length: of the body as announced; ``None`` when it is not.
        chunked: whether the body comes in chunks.
        keep_alive: whether the upstream can use its connection again.
        content_type: in lower case; empty when there is none.
        content_encoding: as sent; ``None`` when there is none.
        drop: lower-case names of the headers that belong to the connection.
    """

    status: int
    raw: bytes
    pairs: list[tuple[str, str]]
    length: int | None
    chunked: bool
    keep_alive: bool
    content_type: str
    content_encoding: str | None
    drop: frozenset[str]


def read_answer(raw: bytes) -> AnswerHead:  # noqa: C901 - a branch for each header that is looked at
    """What an upstream's head says.

    Raises:
        BadMessage: when it is none, or contradicts itself.
    """
    text = raw.decode("latin-1")
    line = _STATUS_LINE.match(text)
    if line is None:
        raise BadMessage("the status line is malformed")
    fields: list[tuple[str, str]] = _FIELD.findall(text, line.end())
    # each line matched from its own start to its CRLF: no folded, nameless or half-ended line is among them
    if len(fields) != text.count("\n") - 2:
        raise BadMessage("a header line is malformed")
    pairs = [(name.lower(), value) for name, value in fields]
    length: int | None = None
    chunked = False
    connection = content_type = ""
    encoding: str | None = None
    drop: list[str] = []
    for name, value in pairs:
        if name not in _WATCHED:
            continue
        if name == "content-type":
            content_type = value.lower()
        elif name == "content-length":
            length = _same_length(value, length)
        elif name == "transfer-encoding":
            if chunked or value.strip().lower() != "chunked":
                raise BadMessage("a transfer coding that is not understood")
            chunked = True
        elif name == "content-encoding":
            encoding = f"{encoding}, {value}" if encoding else value
        else:
            drop.append(name)
            connection += f",{value.lower()}" if name == "connection" else ""
    if chunked and (length is not None or line[1] == "0"):
        raise BadMessage("the body's end is stated in two ways")
    keep = line[1] == "1"
    if connection:
        options = [option.strip() for option in connection.split(",")]
        drop += [option for option in options if option and option not in ("close", *_WATCHED)]
        keep = "close" not in options and (keep or "keep-alive" in options)
    dropped = frozenset(drop) if drop else _NOTHING
    return AnswerHead(int(line[2]), raw, pairs, length, chunked, keep, content_type, encoding, dropped)


def _same_length(value: str, before: int | None) -> int:
    value = value.strip()
    if not (value.isascii() and value.isdigit()) or len(value) > 18 or before is not None:
        raise BadMessage("the Content-Length header is malformed")
    return int(value)


def has_body(status: int, method: bytes) -> bool:
    """Whether an answer of this status to this method has a body at all."""
    return method != b"HEAD" and status not in _NO_CONTENT and status >= _FIRST_FINAL


# ---- what is sent to a client


def pass_on(head: AnswerHead, *, without: frozenset[str] = frozenset(), extra: bytes = b"") -> bytes:
    """The head of an answer as its client gets it: the bytes as they came, but for what belongs to the connection.

    Args:
        head: the upstream's.
        without: lower-case names of further headers to leave out.
        extra: lines to add at the end.
    """
    raw = head.raw
    if head.drop:
        without |= head.drop
    if without:
        first, *lines = raw.split(b"\r\n")
        kept = [line for line, (name, _) in zip(lines, head.pairs, strict=False) if name not in without]
        raw = b"\r\n".join((first, *kept, b"", b""))
    if raw[7] != 0x31:  # we speak HTTP/1.1, whatever the upstream does
        raw = b"HTTP/1.1" + raw[8:]
    return raw[:-2] + extra + b"\r\n" if extra else raw


def make_answer(status: int, headers: Iterable[Header], body: bytes, *, keep_alive: bool, to_head: bool) -> bytes:
    """A whole answer of our own.

    Args:
        status: of three digits.
        headers: beside the length and what belongs to the connection.
        body: of the answer.
        keep_alive: whether the connection stays open.
        to_head: it answers ``HEAD``: the body is announced, and not sent.
    """
    lines = [b"%b: %b\r\n" % header for header in headers]
    lines.append(b"content-length: %d\r\n" % len(body))
    if not keep_alive:
        lines.append(CLOSE)
    return b"".join((_status_line(status), *lines, b"\r\n", b"" if to_head else body))


CLOSE: Final = b"connection: close\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON: Final[Header] = (b"content-type", b"application/json")
_STATUS_LINES: Final[Mapping[int, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status
