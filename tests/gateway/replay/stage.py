"""Recorded exchanges played again: by an upstream that sends what was recorded, to clients with a gateway between."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import re
import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import brotli

from taximeter.gateway.config import Config, GatewaySettings, UpstreamSettings
from taximeter.gateway.upstreams import KINDS
from tests.gateway.http.stage import SECONDS, Peer, Reachable
from tests.wire.recordings import FOLDER, Recording, recording

FRAMINGS: Final = ("chunks", "length", "close", "bytes")
"""How a body goes out: in chunks; with its length; until the connection ends; byte by byte, in chunks of one."""

_MOST_SINGLE_BYTES: Final = 1_500
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}
)
_FRAMING: Final = _HOP_BY_HOP | {"content-length"}
_MULTIPART: Final = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--\r\n'
_DEFAULTS: Final = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}
_NAMES: Final = {kind.provider: name for name, kind in KINDS.items()}
_GOOGLE: Final = "generativelanguage.googleapis.com"


class Take(NamedTuple):
    """One recording, played once.

    Attributes:
        name: of the recording.
        framing: one of :data:`FRAMINGS`.
        way: between whom it is played: ``direct``, or the name of a gateway.
    """

    name: str
    framing: str
    way: str


class Sent(NamedTuple):
    """A request as the upstream got it."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Got(NamedTuple):
    """An answer as the client got it, its headers those from end to end."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def without(self, *names: str) -> tuple[tuple[str, str], ...]:
        """The headers less ours and some others."""
        kept = ((name, value) for name, value in self.headers if name.lower() not in names)
        return tuple(each for each in kept if not each[0].lower().startswith("x-taximeter-"))

    def value(self, name: str) -> str | None:
        """A header's value."""
        return next((value for found, value in self.headers if found.lower() == name), None)

    @property
    def plain(self) -> bytes:
        """The body without its encoding, where it is encoded: recordings may tell of one that was undone."""
        if self.body.startswith(b"\x1f\x8b"):
            return gzip.decompress(self.body)
        if self.value("content-encoding") == "br" and not self.body.startswith((b"{", b"data:")):
            return brotli.decompress(self.body)
        return self.body


_OURS: Final = re.compile(rb',?"(?:cost_usd|turn_cost_usd)":"[0-9.]+"|,?"turn_unpriced_calls":[0-9]+')
_COST: Final = re.compile(rb'"cost_usd":"([0-9.]+)"')


def without_cost(body: bytes) -> bytes:
    """A body less what a gateway puts into its usage."""
    return _OURS.sub(b"", body)


def told_cost(body: bytes) -> str | None:
    """The last cost that a body tells."""
    found = _COST.findall(body)
    return found[-1].decode() if found else None


# ---- the upstream


class Player:
    """What the upstream's connections do: each request names a take, and gets what was recorded.

    Attributes:
        requests: what was asked, by take.
    """

    def __init__(self) -> None:
        self.requests: dict[Take, Sent] = {}

    def __call__(self, peer: Peer) -> None:
        """Answers one request after the other."""
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while request := peer.read_request():
            head, _, body = request.partition(b"\r\n\r\n")
            line, *lines = head.decode("latin-1").split("\r\n")
            fields = [(name, value) for name, _, value in (each.partition(": ") for each in lines)]
            take = Take(*next(value for name, value in fields if name == "x-take").split())
            kept = sorted(
                (name.lower(), value) for name, value in fields if name.lower() not in {"x-take", "connection"}
            )
            self.requests[take] = Sent(line, tuple(kept), body)
            for piece in _answer(take):
                peer.send(piece)
            if take.framing == "close":
                return


def _answer(take: Take) -> Iterator[bytes]:
    """What is sent, in the pieces in which it is."""
    capture = recording(take.name).capture
    dice = random.Random(f"{take.name} {take.framing}")
    body, framing = capture.body, take.framing
    lines = [f"{name}: {value}" for name, value in capture.headers if name.lower() not in _FRAMING]
    lines += {"length": [f"content-length: {len(body)}"], "close": ["connection: close"]}.get(
        framing, ["transfer-encoding: chunked"]
    )
    head = "\r\n".join((f"HTTP/1.1 {capture.status} {_REASON}", *lines, "", "")).encode("latin-1")
    pieces = list(_cut(body, dice, single=framing == "bytes"))
    if framing in {"chunks", "bytes"}:
        pieces = [b"%x\r\n%b\r\n" % (len(each), each) for each in pieces] + [b"0\r\n\r\n"]
    if framing == "bytes":
        yield head
        yield from pieces
    else:  # the sockets' pieces are not the chunks
        yield from _cut(head + b"".join(pieces), dice, single=False)


_REASON: Final = "Recorded"


def _cut(data: bytes, dice: random.Random, *, single: bool) -> Iterator[bytes]:
    """Some bytes in random pieces, most of them small; or the first of them one by one."""
    alone = min(len(data), _MOST_SINGLE_BYTES) if single else 0
    yield from (data[at : at + 1] for at in range(alone))
    rest = data[alone:]
    count = min(dice.choice((0, 1, 3, 20, 60)), max(len(rest) - 1, 0))
    edges = sorted(dice.sample(range(1, len(rest)), count)) if count else []
    yield from (rest[start:end] for start, end in pairwise((0, *edges, len(rest))) if start < end)


# ---- the clients


class Asked(NamedTuple):
    """The request of a recording."""

    method: str
    path: str
    mounted: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def asked(name: str) -> Asked:
    """The request of a recording, as it is sent to its provider, and to a gateway."""
    said: dict[str, Any] = json.loads((FOLDER / name / "request.json").read_bytes())
    host, _, path = said["url"].partition("/")
    # one has an empty segment, and some have <NAME> where a name was: a gateway refuses both
    path = "/" + re.sub("[<>]", "", path).lstrip("/")
    if said["query"]:
        path += "?" + urlencode([tuple(each) for each in said["query"]], quote_via=quote, safe="$;=")
    headers = {key: value.partition("\n")[0] for key, value in said["headers"].items()}
    body = _MULTIPART if said.get("body") is None else json.dumps(said["body"], ensure_ascii=False).encode()
    headers["content-type"] = "multipart/form-data; boundary=x" if said.get("body") is None else "application/json"
    headers |= {"authorization": "Bearer sk-of-the-client", "content-length": str(len(body))}
    unmounted = host in _DEFAULTS or (host == _GOOGLE and "/openai/" not in path)
    bare = unmounted and random.Random(name).random() < 0.5
    return Asked(said["method"], path, path if bare else f"/{mount(name)}{path}", tuple(headers.items()), body)


def mount(name: str) -> str:
    """The upstream that a recording belongs to: its provider's, else one of its own."""
    provider = recording(name).capture.route.provider
    return _NAMES.get(provider) or "x-" + re.sub("[^a-z0-9]+", "-", provider)


def config(names: list[str], port: int, *, cost_in_usage: bool) -> Config:
    """A gateway before the upstream, with a mount for every recording; clients' keys are forwarded."""
    address = f"http://127.0.0.1:{port}"
    upstreams = {
        mount(name): UpstreamSettings(base_url=address, provider=recording(name).capture.route.provider)
        for name in names
    }
    settings = GatewaySettings(auth="passthrough", cost_in_usage=cost_in_usage, inject_usage="never")
    return Config(gateway=settings, upstreams=upstreams)


class Caller:
    """A client with a connection to one place, kept alive."""

    def __init__(self, to: Reachable, way: str) -> None:
        self._way = way
        self._connection = http.client.HTTPConnection("127.0.0.1", to.port, timeout=2 * SECONDS)

    def play(self, name: str, framing: str) -> Got:
        """Asks what was asked, and reads the answer to its end."""
        said, connection = asked(name), self._connection
        path = said.path if self._way == "direct" else said.mounted
        connection.putrequest(said.method, path, skip_accept_encoding=True)
        for key, value in said.headers:
            connection.putheader(key, value)
        connection.putheader("x-take", f"{name} {framing} {self._way}")
        connection.endheaders(said.body)
        with connection.getresponse() as answer:
            body = answer.read()
            kept = tuple(each for each in answer.getheaders() if each[0].lower() not in _HOP_BY_HOP)
            return Got(answer.status, kept, body)

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()


def framings(name: str) -> tuple[str, ...]:
    """How a recording is played: in two ways; in all of them in the deep run."""
    if os.environ.get("TAXIMETER_HYPOTHESIS") == "deep":
        return FRAMINGS
    return tuple(random.Random(name).sample(FRAMINGS, 2))


def ambiguous(one: Recording) -> bool:
    """Whether two sources of one answer disagree, so that either may be right."""
    return any("(ambiguous)" in anomaly for anomaly in one.expected["anomalies"])
