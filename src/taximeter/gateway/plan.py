"""The words between the data plane and the policy: who calls, where a call goes, and what is said when it goes nowhere.

The data plane (``http/``) moves bytes and knows nothing of keys or providers. What it wants to know it asks a
:class:`Gatekeeper`, twice a call at most: of the head (:meth:`Gatekeeper.admit`), and once more of the body, where that
decides (:meth:`Gatekeeper.aim`). Neither may wait for anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

import msgspec

from taximeter.event import Scope
from taximeter.wire import Route

Family = Literal["openai", "anthropic", "gemini", "bedrock"]
"""Whose error format a caller understands."""

Header = tuple[bytes, bytes]
"""A header's name and value, as bytes on the wire."""

Answer = tuple[int, Sequence[Header], bytes]
"""An answer that is made here: status, headers, body. The data plane adds ``content-length``."""

Sign = Callable[[bytes, bytes, list[Header], bytes], list[Header]]
"""Signs a request anew: of method, target, headers and body the headers to send; raises
:class:`taximeter.errors.SigningError` where it cannot."""


Edit = Callable[[int, bytes], bytes | None]
"""Of an answer's status and its whole body the body to send; ``None``: as it is. Raises nothing."""


class Refusal(msgspec.Struct, frozen=True):
    """We say no.

    Attributes:
        status: the HTTP status.
        family: whose format the answer has.
        code: what is wrong, in one word for programs: ``invalid_api_key``.
        message: what is wrong and what to do, for a person. Holds no key.
        headers: what the answer carries beside its content.
    """

    status: int
    family: Family
    code: str
    message: str
    headers: tuple[Header, ...] = ()


class Caller(msgspec.Struct, frozen=True):
    """Who calls, known from the head alone.

    Attributes:
        key_id: of a virtual key, or the keyed hash of a provider's key that is forwarded; ``None`` where nobody asks.
        scope: what the key is bound to, over what headers say.
        cost_in_usage: whether the caller is told the cost in the usage.
        models: globs of the models that the key may ask for; ``None``: any.
        providers: names of the upstreams that the key may call; ``None``: any.
        allow: what the key may do beyond calls that are metered and what is free; ``None``: anything.
    """

    key_id: str | None
    scope: Scope
    cost_in_usage: bool
    models: tuple[str, ...] | None = None
    providers: frozenset[str] | None = None
    allow: frozenset[str] | None = None


class Origin(msgspec.Struct, frozen=True):
    """Where a connection leads; hashable, so that a pool has one queue for each.

    Attributes:
        host: a name, or an address without brackets.
        port: of TCP.
        tls: whether it is spoken.
        server_name: the name that the certificate is held against; ``None`` without TLS.
        verify: whether the certificate is checked; a path: against the authorities in that file.
    """

    host: str
    port: int
    tls: bool
    server_name: str | None
    verify: bool | str = True


class Destination(msgspec.Struct, frozen=True):
    """Where a call goes, and how it is changed on the way.

    Attributes:
        upstream: its name, for logs and errors.
        origin: where to connect.
        target: path and query as sent to the upstream.
        host: the ``Host`` header.
        route: how the call is read; ``None``: it passes unmetered.
        headers: set by us: credentials, and what the configuration adds. Each takes the place of the client's.
        without: lower-case names of client headers that must not travel, beside hop-by-hop ones.
        family: whose error format the caller understands.
        inject_usage: whether a stream may be asked for its usage.
        cost_in_usage: whether the caller is told the cost in the usage.
        sign: signs the finished request, where the upstream wants that.
        model_rewrite: the model's own name as the text of a JSON string, without its quotation marks, where
            ``provider/model`` was asked for (``gateway.bodies.with_model`` puts it there).
        scope: to whom the call is attributed.
        edit: changes the answer, where that is JSON and can be held whole.
    """

    upstream: str
    origin: Origin
    target: bytes
    host: bytes
    route: Route | None
    headers: tuple[Header, ...]
    without: frozenset[bytes]
    family: Family
    inject_usage: bool
    cost_in_usage: bool
    sign: Sign | None = None
    model_rewrite: bytes | None = None
    scope: Scope = Scope()
    edit: Edit | None = None

    def __repr__(self) -> str:
        return f"<Destination {self.upstream}: {self.target.partition(b'?')[0].decode('latin-1')}>"  # never its keys


class Aim(msgspec.Struct, frozen=True):
    """The answer to a head that may come in.

    Attributes:
        caller: who calls.
        family: whose error format the caller understands.
        destination: where the call goes, where the head alone decides that.
        needs_body: the body is wanted whole before :meth:`Gatekeeper.aim`; ``destination`` is then ``None``.
        memory: what the gatekeeper wants to remember until then; nobody else's business.
    """

    caller: Caller
    family: Family
    destination: Destination | None
    needs_body: bool
    memory: object = None


class Local(msgspec.Struct, frozen=True):
    """A request that is answered here.

    Attributes:
        answer: makes the answer; may be a coroutine function.
    """

    answer: Callable[[], Answer | Awaitable[Answer]]


class Gatekeeper(Protocol):
    """Says who may do what. Its methods are quick, raise nothing and wait for nothing."""

    def admit(self, method: bytes, target: bytes, headers: Sequence[Header], peer: str) -> Aim | Local | Refusal:
        """Whether a request may come in.

        Args:
            method: as sent.
            target: path and query, as sent.
            headers: as sent; names in any case.
            peer: the client's address, for logs.
        """
        ...

    def aim(self, aim: Aim, method: bytes, target: bytes, body: bytes | None) -> Destination | Refusal:
        """Where a call goes, once its body is there; asked only where ``aim.needs_body``.

        Args:
            aim: what :meth:`admit` answered.
            method: as sent.
            target: as sent.
            body: the whole body, decoded of its transfer coding; ``None`` for none.
        """
        ...

    def fault(self, family: Family, status: int, code: str, message: str) -> tuple[int, bytes]:
        """An error in the caller's own format: its status, and its body, which is JSON."""
        ...

    def mask(self, body: bytes) -> bytes:
        """A provider's error with every key in it made unreadable; the same object when there is none."""
        ...
