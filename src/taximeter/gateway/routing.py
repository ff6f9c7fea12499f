"""From a request's path, and for OpenAI's API its model, to an upstream and a path there."""

from __future__ import annotations

from typing import Final

import msgspec

from taximeter.gateway.config import Defaults
from taximeter.gateway.faults import refuse
from taximeter.gateway.paths import has_stray_slash, needed, why_unsafe
from taximeter.gateway.plan import Family, Header, Refusal
from taximeter.gateway.upstreams import Upstream, Upstreams
from taximeter.wire import Route, recognise
from taximeter.wire.injection import can_ask

_MOST_PLACES: Final = 4096
_LONGEST: Final = 512  # of paths that are remembered


class Place(msgspec.Struct, frozen=True):
    """What lies behind a path.

    Attributes:
        upstream: whose it is.
        path: its own path there.
        route: how a call to it is read; ``None``: it is not metered.
        family: whose error format is spoken there.
        need: what a virtual key must be allowed (:data:`~taximeter.gateway.paths.ALLOWABLE`); ``None``: nothing.
        headers: what the upstream wants on this path: its key, and what the configuration adds.
        asks: whether a stream may be asked for its usage.
        open_end: what follows ``/v1`` where the model may yet choose another upstream; ``None`` where it may not.
    """

    upstream: Upstream
    path: bytes
    route: Route | None
    family: Family
    need: str | None
    headers: tuple[Header, ...] = ()
    asks: bool = False
    open_end: bytes | None = None

    def __repr__(self) -> str:
        return f"<Place {self.upstream.name}: {self.path.decode('latin-1')}>"  # never its keys


class Choice(msgspec.Struct, frozen=True):
    """What ``provider/model`` chose.

    Attributes:
        place: where the call goes.
        model: the model's own name there; ``None``: as it was asked for.
    """

    place: Place
    model: str | None


class Router:
    """Finds places. What it has found it remembers, up to some thousand paths."""

    def __init__(self, upstreams: Upstreams, defaults: Defaults) -> None:
        self._upstreams = upstreams
        self._defaults = defaults
        self._places: dict[tuple[bytes, bytes, bool], Place | Refusal] = {}

    def place(self, method: bytes, path: bytes, *, anthropic: bool = False) -> Place | Refusal:
        """What lies behind a path.

        Args:
            method: as sent.
            path: as sent, without query.
            anthropic: whether the caller says that it speaks Anthropic's API (``anthropic-version``): paths that
                several APIs have (``/v1/models``) are then Anthropic's.
        """
        key = (method, path, anthropic)
        try:
            return self._places[key]
        except KeyError:
            found = self._find(method.decode("latin-1"), path, anthropic=anthropic)
        if len(path) <= _LONGEST:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            self._places[key] = found
        return found

    def choose(self, place: Place, model: str) -> Choice | Refusal:
        """Where a model's name sends a call that came to a path without a mount: ``groq/llama-3.3-70b`` to Groq."""
        name, slash, own = model.partition("/")
        stays = Choice(place, None)
        if place.open_end is None or not slash or not own:
            return stays
        if place.upstream.kind.slashed and name != place.upstream.name:
            return stays  # its own models are called so
        upstream = self._upstreams.active.get(name)
        if upstream is None:
            why = self._upstreams.inactive.get(name)
            return stays if why is None else _unavailable(name, why, place.family)
        if upstream.openai_base is None:
            return refuse(place.family, 404, "upstream_unavailable", f"{name} does not speak this API here")
        chosen = _at(upstream, "POST", upstream.openai_base + place.open_end)
        if isinstance(chosen, Refusal):
            return chosen
        keeps = upstream.kind.slashed and "/" not in own  # openrouter/auto is a model's whole name
        return Choice(chosen, None if keeps else own)

    def _find(self, method: str, path: bytes, *, anthropic: bool) -> Place | Refusal:
        why = why_unsafe(path)
        if why is not None:
            return refuse("openai", 400, "invalid_path", why)
        first, slash, rest = path[1:].partition(b"/")
        name = first.decode("ascii")
        if name in self._upstreams.active:
            return _at(self._upstreams.active[name], method, slash + rest or b"/")
        if name in self._upstreams.inactive:
            return _unavailable(name, self._upstreams.inactive[name], "openai")
        family = _family_of_unmounted(path, anthropic=anthropic)
        if family is None:
            return refuse("openai", 404, "not_found", "nothing is mounted at this path")
        return self._unmounted(method, path, family)

    def _unmounted(self, method: str, path: bytes, family: Family) -> Place | Refusal:
        """What lies behind a path without a mount: its API's default upstream."""
        name: str = getattr(self._defaults, family)
        upstream = self._upstreams.active.get(name)
        if upstream is None:
            return _unavailable(name, self._upstreams.inactive.get(name, "it is not known"), family)
        if family != "openai":
            return _at(upstream, method, path)
        end = path.removeprefix(b"/v1")
        if upstream.openai_base is None:
            return refuse(family, 404, "upstream_unavailable", f"{name} does not speak this API here")
        found = _at(upstream, method, upstream.openai_base + end)
        return found if isinstance(found, Refusal) else msgspec.structs.replace(found, open_end=end)


def _family_of_unmounted(path: bytes, *, anthropic: bool) -> Family | None:
    """Whose API a path without a mount is of."""
    if path.startswith((b"/v1beta/", b"/v1alpha/", b"/upload/v1beta/")):
        return "gemini"
    if not path.startswith(b"/v1/"):
        return None
    if anthropic or path.startswith((b"/v1/messages/", b"/v1/complete/")) or path in {b"/v1/messages", b"/v1/complete"}:
        return "anthropic"
    return "gemini" if path.startswith(b"/v1/models/") and b":" in path.rpartition(b"/")[2] else "openai"


def _at(upstream: Upstream, method: str, path: bytes) -> Place | Refusal:
    """What lies behind an upstream's own path."""
    bedrock = upstream.kind.family == "bedrock"
    if has_stray_slash(path, bedrock=bedrock):
        return refuse(upstream.kind.family, 400, "invalid_path", "the path escapes a slash")
    text = path.decode("ascii")
    route = recognise(method, upstream.known_host, text)
    if route is not None:
        route = msgspec.structs.replace(route, provider=upstream.provider)
    need = needed(method, text, metered=route is not None, provider=upstream.provider)
    if need is not None and need != "stored_responses":
        route = None  # what merely ends like a call is none
    # Azure's query decides too, call by call
    asks = route is not None and can_ask(route, upstream.known_host, text, declared=upstream.asks)
    headers = (*upstream.credentials(path), *upstream.headers)
    return Place(upstream, path, route, _family(upstream, route, path), need, headers, asks)


_FAMILIES: Final[dict[str, Family]] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex": "gemini",
    "bedrock": "bedrock",
}


def _family(upstream: Upstream, route: Route | None, path: bytes) -> Family:
    if route is not None:
        return _FAMILIES.get(route.api.partition(".")[0], upstream.kind.family)
    return "openai" if b"/openai/" in path else upstream.kind.family


def _unavailable(name: str, why: str, family: Family) -> Refusal:
    return refuse(family, 404, "upstream_unavailable", f"the upstream {name} is not available here: {why}")
