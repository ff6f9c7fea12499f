"""Heads of requests as bytes: what may be in one, what it says of the body, and how one is made.

A head is read by a grammar that lists what is allowed (https://www.rfc-editor.org/rfc/rfc9112, read 2026-11): what does
not match is refused, and nothing is repaired. Two parties that read a repaired head differently are how requests are
smuggled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

Header = tuple[bytes, bytes]


class BadMessage(Exception):  # noqa: N818 - it is the peer's error, not one of ours
    """The other side sent what HTTP/1.1 does not allow, or more than is taken.

    Attributes:
        status: what a client is told; for an upstream's message it means nothing.
        code: what is wrong, in one word for programs.
        message: what is wrong, for a person; quotes nothing of the message.
    """

    def __init__(self, message: str, *, status: int = 400, code: str = "bad_request") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


# ---- what a client sends

_REQUEST_LINE: Final = re.compile(rb"([A-Z]{1,16}) ([!-~]+) HTTP/1\.([01])\r\n")
_LONGEST_REST: Final = 32
"""Of a request line: its method and its version."""
_PLAIN_BYTES: Final = bytes(byte for byte in range(256) if (byte >= 0x20 and byte != 0x7F) or byte in b"\t\r\n")
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_VERSION: Final = re.compile(rb" HTTP/1\.[01]\Z")

_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer", b"upgrade"}
)
_NOT_AS_SENT: Final = _HOP_BY_HOP | {b"host", b"content-length", b"transfer-encoding", b"expect"}
"""Client headers that do not travel as they are: they belong to the connection, or are made anew."""
_KEPT_ALL_THE_SAME: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization"})
_NOT_IN_TRAILERS: Final = _NOT_AS_SENT | {b"authorization", b"cookie", b"content-encoding", b"content-type"}


class HeadLimits(NamedTuple):
    """How much a client's head may have.

    Attributes:
        all_bytes: in all.
        target_bytes: of its target.
        headers: lines.
    """

    all_bytes: int
    target_bytes: int
    headers: int


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a request, checked.

    Attributes:
        method: one of those that are served.
        target: path and query; begins with a slash.
        headers: as sent.
        names: the headers' names in lower case, in the same order.
        length: of the body as announced; ``None`` when it comes in chunks.
        keep_alive: whether the client can use its connection again.
        old: whether it speaks HTTP/1.0.
        expects: whether it waits for ``100 Continue``.
        attempt: 1 for a first try, as far as the client's SDK says.
        nominated: further names that ``Connection`` says belong to the connection.
    """

    method: bytes
    target: bytes
    headers: list[Header]
    names: list[bytes]
    length: int | None
    keep_alive: bool
    old: bool
    expects: bool
    attempt: int
    nominated: frozenset[bytes]


def check_start(start: bytes, limits: HeadLimits) -> None:
    """Looks at a head of which the end has not come: what is wrong already need not be waited for.

    Raises:
        BadMessage: when no end could make it right.
    """
    line_end = start.find(b"\n")
    if line_end < 0:
        if len(start) > limits.target_bytes + _LONGEST_REST:
            raise _too_long()
        if 0x0D in start[:-1]:
            raise BadMessage("the request line has a bare carriage return")
        return
    if not _REQUEST_LINE.match(start):
        raise _request_line_problem(start, limits)
    if start.count(b"\n") != start.count(b"\r\n"):
        raise BadMessage("a line of the head does not end in CRLF")
    if len(start) > limits.all_bytes or start.count(b"\n") > limits.headers + 1:
        raise _too_large()


def check_request(head: bytes, limits: HeadLimits) -> tuple[bytes, bytes, bool]:
    """Checks the bytes of a whole head, before a parser sees them.

    Args:
        head: up to and with its blank line.
        limits: that it keeps to.

    Returns:
        The method, the target, and whether the client speaks HTTP/1.0.

    Raises:
        BadMessage: when it is not allowed.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise _request_line_problem(head, limits)
    method, target, minor = line.groups()
    if len(target) > limits.target_bytes:
        raise _too_long()
    lines = head.count(b"\n")
    if len(head) > limits.all_bytes or lines > limits.headers + 2:
        raise _too_large()
    if head.translate(None, _PLAIN_BYTES):
        raise BadMessage("the head holds control characters")
    if lines != head.count(b"\r") or lines != head.count(b"\r\n"):
        raise BadMessage("a line of the head does not end in CRLF")
    if b"\n " in head or b"\n\t" in head:
        raise BadMessage("a header line is folded")
    if method not in _METHODS:
        raise BadMessage("this method is not served", status=405, code="method_not_allowed")
    if target[0] != 0x2F:
        raise BadMessage("the target must be a path")
    return method, target, minor == b"0"


def _too_long() -> BadMessage:
    return BadMessage("the request line is too long", status=414, code="uri_too_long")


def _too_large() -> BadMessage:
    return BadMessage("the head is too large", status=431, code="header_fields_too_large")


def _request_line_problem(head: bytes, limits: HeadLimits) -> BadMessage:
    line = head[: head.find(b"\n")].rstrip(b"\r")
    if len(line) > limits.target_bytes + _LONGEST_REST:
        return _too_long()
    if not _VERSION.search(line):
        return BadMessage("only HTTP/1.1 and HTTP/1.0 are spoken")
    return BadMessage("the request line is malformed")


def read_request(  # noqa: C901, PLR0912 - a branch for each header that is looked at
    method: bytes, target: bytes, headers: list[Header], *, old: bool
) -> RequestHead:
    """What a parsed head says.

    Raises:
        BadMessage: when its headers contradict each other, or ask for what is not done here.
    """
    names = [name.lower() for name, _ in headers]
    length: int | None = None
    chunked = expects = False
    hosts = 0
    connection = b""
    attempt = 1
    for index, name in enumerate(names):
        if name not in _LOOKED_AT:
            continue
        value = headers[index][1]
        if name == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise BadMessage("the Host header is malformed")
        elif name == b"content-length":
            if length is not None or not _LENGTH.fullmatch(value):
                raise BadMessage("the Content-Length header is malformed")
            length = int(value)
        elif name == b"transfer-encoding":
            if chunked or old or value.lower() != b"chunked":
                raise BadMessage("no transfer coding but chunked is understood")
            chunked = True
        elif name == b"connection":
            connection = connection + b"," + value if connection else value
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise BadMessage("this expectation cannot be met", status=417, code="expectation_failed")
            expects = not old
        elif name == b"upgrade":
            raise BadMessage("no other protocol is offered")
        elif value.isdigit():
            attempt = min(int(value[:6]), 99_999) + 1
    if hosts != 1 and not (old and hosts == 0):
        raise BadMessage("there must be one Host header")
    if chunked and length is not None:
        raise BadMessage("Content-Length and Transfer-Encoding exclude each other")
    keep, nominated = _of_connection(connection)
    body = None if chunked else (length or 0)
    return RequestHead(method, target, headers, names, body, keep and not old, old, expects, attempt, nominated)


class KnownHead(NamedTuple):
    """A head that was checked and read: the same bytes with another length need neither again.

    Attributes:
        start: its bytes up to the digits of the length.
        rest: its bytes after them, to its end.
        head: what it says.
    """

    start: bytes
    rest: bytes
    head: RequestHead

    def again(self, data: bytes) -> tuple[RequestHead, int] | None:
        """What the head at the start of ``data`` says, and where it ends; ``None`` when it is another."""
        start, rest, head = self
        if not data.startswith(start):
            return None
        at = len(start)
        end = data.find(b"\r", at, at + _MOST_DIGITS + 1)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(rest, end):
            return None
        if int(digits) != head.length:
            head = _of_length(head, digits)
        return head, end + len(rest)


def known(raw: bytes, head: RequestHead, limits: HeadLimits) -> KnownHead | None:
    """What to know a head by that was read from these bytes; ``None`` where it has no length that could differ."""
    found = _LENGTH_LINE.search(raw)
    if found is None or len(raw) + _MOST_DIGITS > limits.all_bytes:
        return None
    return KnownHead(raw[: found.start(1)], raw[found.end(1) :], head)


def _of_length(head: RequestHead, digits: bytes) -> RequestHead:
    headers = head.headers.copy()
    at = head.names.index(b"content-length")
    headers[at] = (headers[at][0], digits)
    return RequestHead(
        head.method,
        head.target,
        headers,
        head.names,
        int(digits),
        head.keep_alive,
        head.old,
        head.expects,
        head.attempt,
        head.nominated,
    )


_MOST_DIGITS: Final = 18
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_LOOKED_AT: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"expect",
        b"upgrade",
        b"x-stainless-retry-count",  # the OpenAI and Anthropic SDKs count their retries in it
    }
)
_NOBODY: Final[frozenset[bytes]] = frozenset()


def _of_connection(value: bytes) -> tuple[bool, frozenset[bytes]]:
    """Whether a connection stays open, and which further headers belong to it."""
    options = value.lower()
    if options in _PERSISTENT:
        return True, _NOBODY
    named = frozenset(option.strip(b" \t") for option in options.split(b","))
    # a client must not have us drop what says who pays
    return b"close" not in named, named - _KEPT_ALL_THE_SAME


_PERSISTENT: Final = (b"", b"keep-alive")


# ---- what is sent to an upstream


def headers_to_send(
    head: RequestHead, without: frozenset[bytes], ours: Sequence[Header], *, encoded: bool
) -> list[Header]:
    """The client's headers that travel.

    Args:
        head: the client's.
        without: lower-case names of those that must not, beside those of the connection.
        ours: what takes the place of those of the same name.
        encoded: whether the answer may be encoded; if not, what the client said of that does not travel.
    """
    drop = _dropped(without, tuple([name for name, _ in ours]), encoded)
    if head.nominated:
        drop |= head.nominated
    return [header for name, header in zip(head.names, head.headers, strict=True) if name not in drop]


_DROPPED: dict[tuple[frozenset[bytes], tuple[bytes, ...], bool], frozenset[bytes]] = {}
_MOST_DROPPED: Final = 1024


def _dropped(without: frozenset[bytes], ours: tuple[bytes, ...], encoded: bool) -> frozenset[bytes]:  # noqa: FBT001 - the key
    key = (without, ours, encoded)
    found = _DROPPED.get(key)
    if found is None:
        if len(_DROPPED) >= _MOST_DROPPED:  # there are few destinations, but a client's headers may be among these
            _DROPPED.clear()
        found = _NOT_AS_SENT.union(without, [name.lower() for name in ours], () if encoded else (b"accept-encoding",))
        _DROPPED[key] = found
    return found


def make_request(method: bytes, target: bytes, headers: Sequence[Header]) -> bytes:
    """The bytes of a request's head."""
    parts = [method, b" ", target, b" HTTP/1.1\r\n"]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def make_trailers(trailers: Iterable[Header]) -> bytes:
    """The end of a chunked body: the last chunk, the trailers that may travel, and the blank line."""
    kept = [b"%b: %b\r\n" % each for each in trailers if each[0].lower() not in _NOT_IN_TRAILERS]
    return b"0\r\n" + b"".join(kept) + b"\r\n"
