"""The gate: who may call what, and to whom it is attributed. It decides from what it has in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from taximeter.errors import ConfigError
from taximeter.event import Scope
from taximeter.gateway.attribution import HEADER, of_body, of_headers, of_trace
from taximeter.gateway.bodies import Asked, read_asked, sure_models
from taximeter.gateway.calls import KEY_TAG
from taximeter.gateway.calls import PATH as CALLS
from taximeter.gateway.config import Config
from taximeter.gateway.credentials import FORWARDED, KEY_HEADERS, OURS, SWAPPED, presented, without_credentials
from taximeter.gateway.faults import Mask, fault, refuse
from taximeter.gateway.hosts import Hosts, require_loopback
from taximeter.gateway.keys import PREFIX, KeyRing, is_plausible
from taximeter.gateway.models import ModelLists, is_list_of_models
from taximeter.gateway.paths import ALLOWABLE, is_query
from taximeter.gateway.plan import Aim, Answer, Caller, Destination, Family, Header, Local, Refusal
from taximeter.gateway.routing import Place, Router
from taximeter.gateway.secrets import keyed_hash
from taximeter.gateway.upstreams import Upstreams
from taximeter.store.keys import KeyRecord
from taximeter.wire.injection import can_ask

_WATCHED: Final = frozenset(
    {*KEY_HEADERS, b"host", b"origin", b"sec-fetch-site", b"anthropic-version", b"traceparent", b"content-type"}
)
_NO_JSON: Final = (b"multipart/", b"audio/", b"image/", b"video/", b"application/octet-stream")
_NAMES: Final[dict[bytes, bytes]] = {}
_MOST_NAMES: Final = 1024
_PREFIX: Final = PREFIX.encode()
_HASH_DIGITS: Final = 24
_NOBODY: Final = Scope()


OwnAnswer = Callable[[], Answer | Awaitable[Answer]]
"""Answers at a path of the gateway's own."""

AskOfCall = Callable[[str | None, bytes], Awaitable[Answer]]
"""Answers a caller, whose key's id is given, what became of a call."""


class _Memory(msgspec.Struct, frozen=True):
    """What is remembered of a head until its body is there."""

    place: Place
    query: bytes
    trace: bytes | None
    content_type: bytes
    stray: frozenset[bytes]


class Gate:
    """The gatekeeper (:class:`~taximeter.gateway.plan.Gatekeeper`)."""

    def __init__(  # noqa: PLR0913 - each is one thing that a gate is given
        self,
        config: Config,
        upstreams: Upstreams,
        *,
        keys: KeyRing | None = None,
        secret: bytes = b"",
        own: Mapping[bytes, OwnAnswer] | None = None,
        calls: AskOfCall | None = None,
        models: ModelLists | None = None,
    ) -> None:
        """Makes a gate.

        Args:
            config: what the gateway is told.
            upstreams: whom it can call.
            keys: the virtual keys, with ``auth = "keys"``.
            secret: with which keys that are forwarded are hashed.
            own: what is answered here, by path, beside ``/healthz`` and ``/readyz``; to anyone who asks.
            calls: answers what became of a call.
            models: puts into lists of models what is known of them.

        Raises:
            ConfigError: for ``auth = "none"`` where others can reach it, or ``auth = "keys"`` without keys.
        """
        settings = config.gateway
        require_loopback(config)
        if settings.auth == "keys" and keys is None:
            msg = 'auth = "keys" needs a store of keys'
            raise ConfigError(msg)
        self.upstreams = upstreams
        self._settings = settings
        self._router = Router(upstreams, config.defaults)
        self._keys = keys
        self._secret = secret
        keyed = settings.auth == "keys"
        self._hosts = Hosts(settings.allowed_hosts, loopback=settings.auth == "none", browsers=keyed)
        self._own: dict[bytes, OwnAnswer] = {b"/healthz": _healthy, b"/readyz": _healthy, **(own or {})}
        self._calls = calls
        self._models = models
        self._mask = Mask(upstreams.secrets())
        self._callers: dict[str, tuple[KeyRecord, Caller]] = {}
        self._forwards = settings.auth == "passthrough"
        self._base = FORWARDED if self._forwards else SWAPPED
        self._without = {
            name: self._base | {header.lower() for header, _ in upstream.headers}
            for name, upstream in upstreams.active.items()
        }

    # ---- what the data plane asks

    def admit(  # noqa: PLR0911 - one for each way that a head can go
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[Header],
        peer: str,  # noqa: ARG002 - the protocol's
    ) -> Aim | Local | Refusal:
        """Whether a request may come in; see :meth:`taximeter.gateway.plan.Gatekeeper.admit`."""
        path, _, query = target.partition(b"?")
        if path in self._own and method in {b"GET", b"HEAD"}:
            return Local(self._own[path])
        seen, ours = _sorted(headers)
        if self._calls is not None and method == b"GET" and path.startswith(CALLS):
            return self._of_call(self._calls, path, self._introduced("openai", seen, ours, query))
        place = self._router.place(method, path, anthropic=b"anthropic-version" in seen)
        caller = self._introduced(place.family, seen, ours, query)
        if isinstance(caller, Refusal):
            return caller
        if isinstance(place, Refusal):  # told only to who may come in
            return place
        refusal = _forbidden(caller, place, query)
        if refusal is not None:
            return refusal
        stray = _NONE if not ours or ours.keys() <= OURS else frozenset(ours)
        memory = _Memory(place, query, seen.get(b"traceparent"), seen.get(b"content-type", b""), stray)
        if _needs_body(method, place, caller, memory.content_type):
            return Aim(caller, place.family, None, needs_body=True, memory=memory)
        settled = self._settled(place, caller, of_trace(caller.scope, memory.trace), memory, None)
        return settled if isinstance(settled, Refusal) else Aim(caller, place.family, settled, needs_body=False)

    def aim(
        self,
        aim: Aim,
        method: bytes,  # noqa: ARG002 - the protocol's
        target: bytes,  # noqa: ARG002 - as above
        body: bytes | None,
    ) -> Destination | Refusal:
        """Where a call goes, once its body is there; see :meth:`taximeter.gateway.plan.Gatekeeper.aim`."""
        memory, caller = aim.memory, aim.caller
        if not isinstance(memory, _Memory):
            msg = "this aim was taken without a body, or by another gatekeeper"
            raise TypeError(msg)
        place = memory.place
        asked = read_asked(body) if place.open_end is not None or _says_more(place) else _NOTHING
        models = asked.models
        if caller.models is not None and (place.route is None or place.route.model is None):
            models = sure_models(body, memory.content_type)
            if not models:
                what = "this key is bound to models, and the body names none that is sure"
                return refuse(place.family, 403, "model_not_allowed", what)
        own: str | None = None
        if place.open_end is not None and models:
            chosen = self._router.choose(place, models[0])
            if isinstance(chosen, Refusal):
                return chosen
            place, own = chosen.place, chosen.model
        scope = of_trace(of_body(caller.scope, asked), memory.trace)
        for model in (own or models[0], *models[1:]) if models else ():
            if not _may_ask(caller, place, model):
                return _not_this_model(place, model)
        return self._settled(place, caller, scope, memory, own)

    def fault(self, family: Family, status: int, code: str, message: str) -> tuple[int, bytes]:
        """An error in the caller's own format."""
        return fault(family, status, code, message)

    def mask(self, body: bytes) -> bytes:
        """A provider's error with every key in it made unreadable."""
        return self._mask(body)

    def close(self, *, wait: bool = True) -> None:
        """Stops keeping up with changes of keys; what is under way may go on.

        Args:
            wait: until the thread that did so has ended.
        """
        if self._keys is not None:
            self._keys.close(wait=wait)

    # ---- who calls

    def _introduced(
        self, family: Family, seen: Mapping[bytes, bytes], ours: Mapping[bytes, bytes], query: bytes
    ) -> Caller | Refusal:
        """Who calls, if they may come in at all."""
        why = self._hosts.why_not(seen.get(b"host", b""), seen.get(b"origin"), seen.get(b"sec-fetch-site", b""))
        if why is not None:
            return refuse(family, 403, "forbidden_host", why)
        if self._keys is not None:
            return self._holder(self._keys, presented(seen, query), ours, family)
        found = presented(seen, query) if self._forwards else []
        key_id = f"pk_{keyed_hash(self._secret, found[0]).hex()[:_HASH_DIGITS]}" if found else None
        scope = _NOBODY if key_id is None else Scope(tags=((KEY_TAG, key_id),))
        return Caller(key_id, of_headers(scope, ours), self._settings.cost_in_usage)

    def _holder(
        self, keys: KeyRing, found: list[bytes], ours: Mapping[bytes, bytes], family: Family
    ) -> Caller | Refusal:
        virtual = {key for key in found if key.startswith(_PREFIX)}
        if len(virtual) != 1:
            what = "one key is wanted, not several" if virtual else "a key of this gateway (tmk-…) is wanted"
            return refuse(family, 401, "invalid_api_key", what)
        key = virtual.pop().decode("latin-1")
        record = keys.find(key) if key.isascii() else None
        if record is None:
            what = "this key is not valid, or not any more" if is_plausible(key) else "this key is misspelt or cut"
            return refuse(family, 401, "invalid_api_key", what)
        known = self._callers.get(record.id)
        if known is None or known[0] is not record:
            known = self._callers[record.id] = (record, self._bound(record))
        caller = known[1]
        return msgspec.structs.replace(caller, scope=of_headers(caller.scope, ours)) if ours else caller

    def _bound(self, record: KeyRecord) -> Caller:
        grants = record.grants
        tags = tuple((name, value) for name, value in grants.tags if name != KEY_TAG)
        cost = self._settings.cost_in_usage if grants.cost_in_usage is None else grants.cost_in_usage
        return Caller(
            key_id=record.id,
            scope=Scope(project=grants.project, user=grants.user, tags=(*tags, (KEY_TAG, record.id))),
            cost_in_usage=cost,
            models=grants.models or None,
            providers=frozenset(grants.providers) or None,
            allow=frozenset(grants.allow),
        )

    @staticmethod
    def _of_call(calls: AskOfCall, path: bytes, caller: Caller | Refusal) -> Local | Refusal:
        return caller if isinstance(caller, Refusal) else Local(lambda: calls(caller.key_id, path[len(CALLS) :]))

    # ---- where it goes

    def _settled(
        self, place: Place, caller: Caller, scope: Scope, memory: _Memory, model: str | None
    ) -> Destination | Refusal:
        upstream, query = place.upstream, memory.query
        if caller.providers is not None and upstream.name not in caller.providers:
            return refuse(place.family, 403, "provider_not_allowed", f"this key does not open {upstream.name}")
        if query and not self._forwards:
            query = without_credentials(query, google=upstream.kind.family == "gemini", prefix=_PREFIX)
        asks = place.asks and self._settings.inject_usage == "auto"
        if asks and place.route is not None and upstream.provider == "azure":
            text = f"{place.path.decode()}?{query.decode()}"
            asks = can_ask(place.route, upstream.known_host, text, declared=upstream.asks)
        without = self._without[upstream.name]
        target = upstream.prefix + place.path
        edits = self._models is not None and caller.cost_in_usage and is_list_of_models(place.path)
        return Destination(
            upstream=upstream.name,
            origin=upstream.origin,
            target=target + b"?" + query if query else target,
            host=upstream.host,
            route=place.route,
            headers=upstream.headers if self._forwards else place.headers,
            without=without | memory.stray if memory.stray else without,
            family=place.family,
            inject_usage=asks,
            cost_in_usage=caller.cost_in_usage and place.route is not None,
            sign=None if self._forwards else upstream.sign,
            model_rewrite=None if model is None else msgspec.json.encode(model)[1:-1],
            scope=scope,
            edit=self._models.editor(upstream.provider) if self._models is not None and edits else None,
        )


_NONE: Final = frozenset[bytes]()
_NOTHING: Final = Asked()
_JSON: Final = ((b"content-type", b"application/json"),)


def _healthy() -> Answer:
    return 200, _JSON, b'{"status":"ok"}'


def _sorted(headers: Sequence[Header]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """The headers that matter here, and those that are ours, by name in lower case."""
    seen: dict[bytes, bytes] = {}
    ours: dict[bytes, bytes] = {}
    for name, value in headers:
        known = _NAMES.get(name)
        if known is None:
            known = _known_name(name)
        if known:
            (ours if known.startswith(HEADER) else seen)[known] = value
    return seen, ours


def _known_name(name: bytes) -> bytes:
    """A header's name in lower case where it matters here, else nothing; remembered as clients write it."""
    lower = name.lower()
    known = lower if lower in _WATCHED or lower.startswith(HEADER) else b""
    if len(_NAMES) < _MOST_NAMES:
        _NAMES[name] = known
    return known


def _forbidden(caller: Caller, place: Place, query: bytes) -> Refusal | None:
    """Why a caller may not use a place, as far as the head tells."""
    if query and not is_query(query):
        return refuse(place.family, 400, "invalid_query", "the query holds what no query may")
    if place.need is not None and caller.allow is not None and not caller.allow & {place.need, "passthrough"}:
        what = "this path" if place.need == "passthrough" else ALLOWABLE[place.need]
        message = f"this key does not open {what}; a key can be allowed it: {place.need}"
        return refuse(place.family, 403, "path_not_allowed", message)
    model = None if place.route is None else place.route.model
    return None if model is None or _may_ask(caller, place, model) else _not_this_model(place, model)


def _may_ask(caller: Caller, place: Place, model: str) -> bool:
    if caller.models is None:
        return True
    names = (model, f"{place.upstream.name}/{model}")
    return any(fnmatchcase(name, glob) for glob in caller.models for name in names)


def _not_this_model(place: Place, model: str) -> Refusal:
    shown = model if len(model) <= 100 and model.isprintable() else "this model"  # noqa: PLR2004 - a name, not an essay
    return refuse(place.family, 403, "model_not_allowed", f"this key may not ask for {shown}")


def _needs_body(method: bytes, place: Place, caller: Caller, content_type: bytes) -> bool:
    """Whether the body decides: it holds the model, and says for whom the call is."""
    if place.route is None or method != b"POST":
        return False
    if caller.models is not None and place.route.model is None:
        return True
    return not content_type.lower().lstrip().startswith(_NO_JSON)


def _says_more(place: Place) -> bool:
    """Whether bodies of this format say for whom they are."""
    return place.route is not None and place.route.api.startswith(("openai.", "anthropic."))
