"""The request as its upstream gets it: the client's, less what must not travel, with what the destination adds."""

from __future__ import annotations

from typing import Final

from taximeter.gateway.bodies import with_model
from taximeter.gateway.http.heads import Header, RequestHead, headers_to_send, make_request
from taximeter.gateway.plan import Destination
from taximeter.wire.costing import states_cost
from taximeter.wire.injection import ask_for_usage

_CHUNKED: Final[Header] = (b"transfer-encoding", b"chunked")
_IDENTITY: Final[Header] = (b"accept-encoding", b"identity")
_MOSTLY_WITHOUT_BODY: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"DELETE"})


def request_for(
    head: RequestHead, destination: Destination, body: bytes | None, *, metered: bool, streams: bool
) -> tuple[bytes, bool]:
    """The request: all of it, or its head where the body follows.

    Args:
        head: the client's.
        destination: where it goes.
        body: the whole body; ``None`` where it is passed on as it comes.
        metered: whether the call is; what is not is not edited either.
        streams: whether the body asks for a stream.

    Returns:
        The bytes, and whether they ask for the usage where the client did not.
    """
    asks = False
    if body:
        if destination.model_rewrite is not None:
            body = with_model(body, destination.model_rewrite) or body
        asking = _asking(destination, body) if metered and streams else None
        if asking is not None:
            body, asks = asking, True
    route = destination.route
    # what may be edited must come readable
    readable = asks or destination.edit is not None
    readable = readable or (metered and destination.cost_in_usage and route is not None and states_cost(route.api))
    headers = [(b"host", destination.host)]
    headers += headers_to_send(head, destination.without, destination.headers, encoded=not readable)
    headers += destination.headers
    if readable:
        headers.append(_IDENTITY)
    if body is None and head.length is None:
        headers.append(_CHUNKED)
    elif head.length != 0 or head.method not in _MOSTLY_WITHOUT_BODY:
        headers.append((b"content-length", b"%d" % (len(body) if body is not None else head.length or 0)))
    if destination.sign is not None:
        headers = destination.sign(head.method, destination.target, headers, body or b"")
    made = make_request(head.method, destination.target, headers)
    return (made + body if body else made), asks


def _asking(destination: Destination, body: bytes) -> bytes | None:
    """The body with the usage asked for; ``None`` where it stays as it is."""
    if destination.route is None or not destination.inject_usage:
        return None
    host, target = destination.host.decode("latin-1"), destination.target.decode("latin-1")
    return ask_for_usage(destination.route, body, host=host, target=target, declared=True)
