"""A stage for the data plane: a gateway in a thread, an upstream that follows a script to the byte, and raw clients."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, Self

import msgspec

from taximeter.event import Scope
from taximeter.gateway.config import ServingSettings
from taximeter.gateway.plan import Aim, Caller, Destination, Family, Header, Local, Origin, Refusal
from taximeter.gateway.worker import Gateway
from taximeter.meter.runtime import Meter
from taximeter.wire import Route

SECONDS = 5
CHAT = Route("openai.chat", "openai")


class Peer:
    """The upstream's side of one connection."""

    def __init__(self, connection: socket.socket, stage: Upstream) -> None:
        self.socket = connection
        self._stage = stage
        self._rest = b""

    def read_head(self) -> bytes:
        """The next request's head; empty when there is none."""
        while b"\r\n\r\n" not in self._rest:
            data = self.socket.recv(65536)
            if not data:
                return b""
            self._rest += data
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def read_body(self, length: int) -> bytes:
        """So many bytes of its body."""
        while len(self._rest) < length:
            data = self.socket.recv(65536)
            if not data:
                break
            self._rest += data
        body, self._rest = self._rest[:length], self._rest[length:]
        return body

    def read_until(self, end: bytes) -> bytes:
        """Everything up to and with ``end``."""
        while end not in self._rest:
            data = self.socket.recv(65536)
            if not data:
                break
            self._rest += data
        found, end, self._rest = self._rest.partition(end)
        return found + end

    def read_request(self) -> bytes:
        """The next request, whole; empty when there is none."""
        head = self.read_head()
        lines = head.lower().split(b"\r\n")
        lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
        if b"transfer-encoding: chunked" in lines:
            request = head + self.read_until(b"0\r\n\r\n")
        else:
            request = head + self.read_body(lengths[0] if lengths else 0)
        if request:
            self._stage.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.socket.sendall(data)

    def reset(self) -> None:
        """Breaks the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def gone(self) -> bool:
        """Waits until the other side has closed; whether it has."""
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


class Upstream:
    """A server that does what its script says, once a connection.

    Args:
        script: is given each connection; what it raises fails the test at the end.
    """

    def __init__(self, script: Callable[[Peer], object]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._script = script
        self._listen = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listen.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._failures: list[Exception] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listen.accept()
                connection.settimeout(SECONDS)
                self.connections += 1
                self._sockets.append(connection)
                thread = threading.Thread(target=self._play, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _play(self, connection: socket.socket) -> None:
        try:
            self._script(Peer(connection, self))
        except OSError:
            pass  # the gateway closed: what it should have done is asserted elsewhere
        except Exception as error:  # noqa: BLE001 - raised where the test sees it
            self._failures.append(error)
        finally:
            connection.close()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listen.shutdown(socket.SHUT_RDWR)
        self._listen.close()
        self._accepting.join(SECONDS)
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        for failure in self._failures:
            raise failure


def answering(answer: bytes) -> Callable[[Peer], None]:
    """A script that gives every request the same answer."""

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer)

    return script


class Keeper:
    """A gatekeeper that lets everyone in, to one destination.

    Args:
        destination: where calls go.
        needs_body: whether bodies are held whole first.
        caller: who calls.
    """

    def __init__(self, destination: Destination, *, needs_body: bool = False, caller: Caller | None = None) -> None:
        self.destination = destination
        self.needs_body = needs_body
        self.caller = caller or Caller(key_id="k-1", scope=destination.scope, cost_in_usage=destination.cost_in_usage)
        self.heads: list[tuple[bytes, bytes, Sequence[Header], str]] = []
        self.bodies: list[bytes | None] = []
        self.refusal: Refusal | None = None
        self.local: Local | None = None
        self.family: Family = "openai"

    def admit(self, method: bytes, target: bytes, headers: Sequence[Header], peer: str) -> Aim | Local | Refusal:
        """Everyone may come in."""
        self.heads.append((method, target, headers, peer))
        if self.local is not None and target == b"/local":
            return self.local
        if self.refusal is not None and not self.needs_body:
            return self.refusal
        destination = msgspec.structs.replace(self.destination, target=target)
        return Aim(self.caller, self.family, None if self.needs_body else destination, self.needs_body)

    def aim(self, aim: Aim, method: bytes, target: bytes, body: bytes | None) -> Destination | Refusal:  # noqa: ARG002
        """All calls go to one place."""
        self.bodies.append(body)
        return self.refusal or msgspec.structs.replace(self.destination, target=target)

    def fault(self, family: Family, status: int, code: str, message: str) -> tuple[int, bytes]:
        """An error, in words that a test can find."""
        return status, msgspec.json.encode({"family": family, "code": code, "message": message})

    def mask(self, body: bytes) -> bytes:
        """Hides the only key that there is."""
        return body.replace(b"sk-secret", b"***") if b"sk-secret" in body else body


def to(port: int, **said: Any) -> Destination:
    """A destination on this machine."""
    found: dict[str, Any] = {
        "upstream": "here",
        "origin": Origin("127.0.0.1", port, tls=False, server_name=None),
        "target": b"/",
        "host": b"upstream.test",
        "route": None,
        "headers": ((b"authorization", b"Bearer upstream"),),
        "without": frozenset({b"x-secret"}),
        "family": "openai",
        "inject_usage": False,
        "cost_in_usage": False,
        "scope": Scope(project="p"),
    }
    return Destination(**(found | said))


def gateway(keeper: Keeper, meter: Meter | None = None, **settings: Any) -> Gateway:
    """A gateway, to be entered."""
    return Gateway(lambda: keeper, ServingSettings(**settings), meter)


class Reachable(Protocol):
    """A gateway, here or in a process of its own."""

    port: int


class Client:
    """A raw connection to a gateway."""

    def __init__(self, to: Reachable) -> None:
        self.socket = socket.create_connection(("127.0.0.1", to.port), timeout=SECONDS)
        self.rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.socket.sendall(data)

    def until(self, end: bytes) -> bytes:
        """Everything up to and with ``end``, or up to the connection's."""
        while end not in self.rest:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                found, self.rest = self.rest, b""
                return found
            self.rest += data
        found, end, self.rest = self.rest.partition(end)
        return found + end

    def answer(self) -> tuple[bytes, bytes]:
        """The next answer with a length, as head and body."""
        head = self.until(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        pieces = [self.rest]
        missing = length - len(self.rest)
        while missing > 0 and (data := self.socket.recv(min(missing, 1 << 20))):
            pieces.append(data)
            missing -= len(data)
        whole = b"".join(pieces)
        self.rest = whole[length:]
        return head, whole[:length]

    def to_the_end(self) -> bytes:
        """Everything until the gateway closes."""
        out = [self.rest]
        self.rest = b""
        with suppress(ConnectionResetError):
            while data := self.socket.recv(65536):
                out.append(data)
        return b"".join(out)


def ask(to: Reachable, request: bytes) -> tuple[bytes, bytes]:
    """Sends a request over a connection of its own; the answer's head and body."""
    with Client(to) as client:
        client.send(request)
        return client.answer()


def post(body: bytes, *headers: bytes, target: bytes = b"/v1/chat/completions") -> bytes:
    """A request."""
    lines = [
        b"POST %b HTTP/1.1" % target,
        b"Host: gateway.test",
        b"Content-Length: %d" % len(body),
        *headers,
        b"",
        body,
    ]
    return b"\r\n".join(lines)


GET = b"GET /v1/models HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
