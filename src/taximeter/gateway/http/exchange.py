"""One call between a client and an upstream: admitted, aimed, metered, sent; its answer passed back; ended once.

The life of an exchange is in ``gateway/README.md``. The client's connection and the upstream's tell it what happens;
what becomes of the answer's bytes is :mod:`~taximeter.gateway.http.answers`' part.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Final

from taximeter.errors import JournalError, SigningError
from taximeter.event import CallEvent, Outcome
from taximeter.gateway.http.answers import Answer, Drained, answer_for
from taximeter.gateway.http.clock import NEVER
from taximeter.gateway.http.framing import Framing
from taximeter.gateway.http.heads import BadMessage, Header, RequestHead, make_trailers
from taximeter.gateway.http.replies import CONTINUE, JSON, AnswerHead, pass_on
from taximeter.gateway.http.sending import request_for
from taximeter.gateway.plan import Aim, Destination, Gatekeeper, Local, Refusal
from taximeter.gateway.plan import Answer as LocalAnswer

if TYPE_CHECKING:
    from taximeter.gateway.http.client import ClientConnection
    from taximeter.gateway.http.pool import Pool
    from taximeter.gateway.http.serving import Serving
    from taximeter.gateway.http.upstream import UpstreamConnection
    from taximeter.gateway.plan import Family
    from taximeter.meter.call import Call

_log = logging.getLogger("taximeter.gateway")

_MOST_WAITING_BYTES: Final = 256 * 1024
"""How much of a body that is passed on may wait for its connection before the client is made to wait too."""


class Exchange:
    """One call.

    Args:
        serving: what the worker's connections share.
        client: who asks.
        head: what for.

    Attributes:
        client: who asks; ``None`` once it has gone.
        head: what for.
        destination: where the call goes, once that is known.
        caller: whose call it is: the id of a key; empty where nobody asks.
        call: what is metered; ``None`` for what is not.
        asked: whether the usage was asked for on the client's behalf.
        told: whether the client has been sent the head of an answer.
        deadline: the tick after which a wait for a connection is over.
        gatekeeper: who decides: the one that was in charge when the call began.
    """

    __slots__ = (
        "_aim",
        "_answer",
        "_body_bytes",
        "_ended",
        "_held",
        "_hold",
        "_pool",
        "_request",
        "_serving",
        "_upstream",
        "asked",
        "call",
        "caller",
        "client",
        "deadline",
        "destination",
        "gatekeeper",
        "head",
        "told",
    )

    def __init__(self, serving: Serving, client: ClientConnection, head: RequestHead) -> None:
        self.client: ClientConnection | None = client
        self.head = head
        self.destination: Destination | None = None
        self.caller = ""
        self.call: Call | None = None
        self.asked = False
        self.told = False
        self.deadline = NEVER
        self._serving = serving
        self.gatekeeper: Gatekeeper = serving.gatekeeper
        self._aim: Aim | None = None
        self._hold = False
        self._held: list[bytes] = []
        self._body_bytes = 0
        self._request = b""
        self._pool: Pool | None = None
        self._upstream: UpstreamConnection | None = None
        self._answer: Answer | None = None
        self._ended = False
        serving.calls += 1

    # ---- the request

    def start(self, body: bytes) -> None:
        """The head has come, and perhaps some of the body: who asks, and may they?"""
        client, head = self.client, self.head
        if client is None:
            return
        said = self.gatekeeper.admit(head.method, head.target, head.headers, client.peer)
        if isinstance(said, Refusal):
            self._say_no(said)
            return
        if isinstance(said, Local):
            self._answer_here(said)
            return
        self._aim = said
        self.caller = said.caller.key_id or ""
        destination = said.destination
        self._hold = said.needs_body or (destination is not None and destination.sign is not None)
        settings = self._serving.settings
        if head.length is not None and head.length > (
            settings.max_held_bytes if self._hold else settings.max_body_bytes
        ):
            self._too_large()
            return
        if head.expects and not client.complete:
            client.write(CONTINUE)
        if body or client.complete:
            self.body(body)
        if not self._hold and destination is not None and not self._ended:
            self._leave(destination, b"" if head.length == 0 else None)

    def body(self, data: bytes) -> None:
        """More of the body has come; with ``client.complete`` that is all of it."""
        client = self.client
        if client is None or self._ended or self._aim is None:
            return
        self._body_bytes += len(data)
        if self._hold:
            self._held.append(data)
            if self._body_bytes > self._serving.settings.max_held_bytes:
                self._too_large()
            elif client.complete:
                self._whole(self._aim, self._held[0] if len(self._held) == 1 else b"".join(self._held))
            return
        if self._body_bytes > self._serving.settings.max_body_bytes:
            self._too_large()
        elif data or self.head.length is None:
            self._stream(client, data)

    def _whole(self, aim: Aim, body: bytes) -> None:
        """The body is whole: where does the call go?"""
        self._held = []
        destination = aim.destination
        if aim.needs_body:
            aimed = self.gatekeeper.aim(aim, self.head.method, self.head.target, body or None)
            if isinstance(aimed, Refusal):
                self._say_no(aimed)
                return
            destination = aimed
        if destination is not None:
            self._leave(destination, body)

    def _leave(self, destination: Destination, body: bytes | None) -> None:
        """Opens the call, and asks for a connection.

        Args:
            destination: where it goes.
            body: the whole body; ``None`` where it is passed on as it comes.
        """
        self.destination = destination
        meter = self._serving.meter
        if destination.route is not None and meter is not None:
            try:
                self.call = meter.open(
                    destination.route, body, scope=destination.scope, within=self.caller, attempt=self.head.attempt
                )
            except JournalError:
                self.refuse(503, "meter_unavailable", "the call cannot be written down, so it is not made")
                return
        try:
            call = self.call
            streams = call is not None and call.opened.stream is True
            self._request, self.asked = request_for(
                self.head, destination, body, metered=call is not None, streams=streams
            )
        except SigningError as error:
            _log.warning("a call to upstream %s cannot be signed: %s", self._upstream_name, error)
            self.refuse(503, "upstream_unsigned", f"calls to the upstream {self._upstream_name} cannot be signed now")
            return
        self._pool = pool = self._serving.pool(destination.origin)
        pool.take(self)
        if self._upstream is None and not self._ended:
            self.deadline = self._serving.tick + self._serving.ticks.connect
            self._serving.connections.add(self)

    def _stream(self, client: ClientConnection, data: bytes) -> None:
        """Passes on more of a body that is not held."""
        if self.head.length is None:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if client.complete:
                data += make_trailers(client.trailers)
        upstream = self._upstream
        if upstream is None:
            self._held.append(data)
            if not client.complete and sum(map(len, self._held)) > _MOST_WAITING_BYTES:
                client.pause_reading()
            return
        upstream.write(data)
        if client.complete:
            upstream.sent()

    # ---- the connection to the upstream

    def connected(self, connection: UpstreamConnection) -> None:
        """There is a connection: the request leaves."""
        self._wait_no_more()
        client = self.client
        if client is None:  # it left in the very moment
            connection.close()
            return
        self._upstream = connection
        data, self._request = self._request, b""
        if self._held:
            data = b"".join((data, *self._held))
            self._held = []
        connection.begin(self, self.head.method, data, whole=client.complete)
        client.resume_reading()

    def unreachable(self, error: Exception) -> None:
        """There is none to be had."""
        self._wait_no_more()
        late = isinstance(error, TimeoutError)
        _log.warning("no connection to upstream %s: %s", self._upstream_name, type(error).__name__)
        if late:
            self._fail(504, "upstream_timeout", "cannot be connected to in time", error)
        else:
            self._fail(502, "upstream_unreachable", "cannot be connected to", error)

    def overdue(self) -> None:
        """No connection has become free in time."""
        if self._pool is not None:
            self._pool.forget(self)
        self._wait_no_more()
        self._fail(504, "upstream_busy", "has no connection free in time", TimeoutError("no connection became free"))

    def upstream_full(self) -> None:
        """The upstream does not keep up with the body."""
        if self.client is not None:
            self.client.pause_reading()

    def upstream_ready(self) -> None:
        """It does again."""
        if self.client is not None:
            self.client.resume_reading()

    def upstream_late(self, *, head: bool) -> None:
        """The upstream has said nothing for too long."""
        self._upstream = None
        problem = TimeoutError("the upstream sent nothing for too long")
        self._fail(504, "upstream_timeout", "did not answer in time" if head else "went silent", problem)

    # ---- the answer

    @property
    def old_client(self) -> bool:
        """Whether the client speaks HTTP/1.0."""
        return self.head.old

    @property
    def max_held_bytes(self) -> int:
        """How long an answer may be that is held."""
        return self._serving.settings.max_edited_bytes

    def members(self, event: CallEvent | None) -> bytes:
        """What the caller is told of the cost, as JSON members."""
        call, meter = self.call, self._serving.meter
        if call is None or meter is None:
            return b""
        try:
            return self._serving.words(self.caller, call, event)
        except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
            meter.failed("words", error, call.id)
            return b""

    def informed(self, head: AnswerHead) -> None:
        """An interim answer passes."""
        if self.client is not None and not self.head.old:
            self.client.write(pass_on(head))

    def answered(self, head: AnswerHead, framing: Framing) -> None:
        """The head of the answer has come."""
        if self.call is not None:
            self.call.answered(head.status, head.pairs)
        if self.client is not None:
            self._answer = answer_for(self, self.client, head, framing)

    def goes_on(self, raw: bytes, payload: bytes, framing: Framing) -> None:
        """More of the answer has come."""
        if framing.done:
            self._upstream = None
        answer, client = self._answer, self.client
        if answer is None:
            return
        answer.take(raw, payload, framing)
        if framing.done:
            self._end(keep=answer.delimited)
        elif client is not None and client.paused and self._upstream is not None:
            self._upstream.pause()

    def broken(self, error: Exception) -> None:
        """The upstream has gone, or what it sent is no answer."""
        self._upstream = None
        bad = isinstance(error, BadMessage)
        what = "sent what is no HTTP/1.1" if bad else "closed the connection before its answer was over"
        if bad:
            _log.warning("upstream %s sent what is no HTTP/1.1: %s", self._upstream_name, error)
        self._fail(502, "bad_upstream_answer" if bad else "upstream_disconnected", what, error)

    def client_full(self) -> None:
        """The client does not keep up with the answer."""
        if self._upstream is not None:
            self._upstream.pause()

    def client_ready(self) -> None:
        """It does again."""
        if self._upstream is not None:
            self._upstream.resume()

    def client_left(self) -> None:
        """The client has gone before the end."""
        self.client = None
        if self._ended:
            return
        upstream, call = self._upstream, self.call
        sent = upstream is not None and upstream.awaiting
        if upstream is not None and call is not None and sent and self._serving.settings.on_disconnect == "drain":
            self._answer = Drained(call, self._serving.settings.max_drained_bytes, self._drop)
            upstream.resume()
            return
        self._drop()

    # ---- ends

    def answer_ended_early(self, *, reset: bool) -> None:
        """The answer cannot be passed on to its end: its client sees a connection that broke."""
        client = self.client
        self._close_upstream()
        self._finish("interrupted")
        if client is not None:
            client.break_off(reset=reset)

    def refuse(self, status: int, code: str, message: str) -> None:
        """Ends the exchange with an error in the caller's own format; too late for that, with the connection."""
        client, answer = self.client, self._answer
        self._close_upstream()
        self._finish("cancelled")
        if client is None:
            return
        family: Family = "openai" if self._aim is None else self._aim.family
        status, body = self.gatekeeper.fault(family, status, code, message)
        if not self.told:
            named = () if self.call is None else ((b"x-taximeter-call-id", self.call.id.encode()),)
            client.answer(status, (JSON, *named), body)
        elif answer is not None:
            if self._serving.settings.on_break == "event":
                answer.error_event(_error_event(family, body))
            client.break_off(reset=not answer.delimited)

    def _say_no(self, refusal: Refusal) -> None:
        status, body = self.gatekeeper.fault(refusal.family, refusal.status, refusal.code, refusal.message)
        self._answer_with(status, (JSON, *refusal.headers), body)

    def _too_large(self) -> None:
        self.refuse(413, "request_too_large", "the request's body is larger than this gateway takes")

    def _fail(self, status: int, code: str, what: str, error: Exception) -> None:
        """The upstream's fault."""
        if self.call is not None:
            self.call.close("interrupted", cut=True, error=error)
        self.refuse(status, code, f"the upstream {self._upstream_name} {what}")

    @property
    def _upstream_name(self) -> str:
        return "" if self.destination is None else self.destination.upstream

    def _answer_here(self, local: Local) -> None:
        made = local.answer()
        if isinstance(made, Awaitable):
            self._serving.run(self._answer_later(made))
        else:
            self._answer_with(*made)

    async def _answer_later(self, made: Awaitable[LocalAnswer]) -> None:
        try:
            answer = await made
        except Exception:  # noqa: BLE001 - whatever it is, the client is to have an answer, and the log the cause
            _log.exception("an answer of the gateway's own could not be made")
            self.refuse(500, "internal_error", "the gateway failed at this")
        else:
            self._answer_with(*answer)

    def _answer_with(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        client = self.client
        self._finish(None)
        if client is not None:
            client.answer(status, headers, body)

    def _drop(self) -> None:
        """Nobody wants the answer any more."""
        self._close_upstream()
        self._finish("cancelled")

    def _wait_no_more(self) -> None:
        self._serving.connections.discard(self)
        self.deadline = NEVER

    def _close_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        elif self._pool is not None and self.deadline < NEVER:
            self._pool.forget(self)
            self._wait_no_more()

    def _end(self, *, keep: bool) -> None:
        """The answer has been passed on whole."""
        client = self.client
        self._finish(None)
        if client is not None:
            client.finish(keep=keep)

    def _finish(self, outcome: Outcome | None) -> None:
        """Closes the books on the call, once."""
        if self._ended:
            return
        self._ended = True
        if self.call is not None:
            self.call.close(outcome, cut=outcome is not None)
        self._answer = None
        self._held = []
        self._serving.call_ended()


def _error_event(family: Family, body: bytes) -> bytes:
    """An error as an event of a stream, where one may have been cut in its midst."""
    return (b"\n\nevent: error\ndata: " if family == "anthropic" else b"\n\ndata: ") + body + b"\n\n"
