"""Under which names the gateway may be addressed, and from which pages: against DNS rebinding and cross-site requests.

A web page that someone visits can make their browser send requests to this machine. Where whoever reaches the gateway
may spend, the browser's own words tell: ``Host`` names where the page believes to be talking to, ``Origin`` where it is
from.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from taximeter.errors import ConfigError
from taximeter.gateway.config import Config

_NEAR = frozenset({b"", b"none", b"same-origin"})


class Hosts:
    """Decides by ``Host``, ``Origin`` and ``Sec-Fetch-Site``."""

    def __init__(self, allowed: Iterable[str], *, loopback: bool, browsers: bool) -> None:
        """Notes what is allowed.

        Args:
            allowed: names, with or without a port; none: every name, unless ``loopback``.
            loopback: whether the names of loopback are allowed, and without ``allowed`` nothing else.
            browsers: whether pages of other sites may call: they may where each call has a key of its own.
        """
        self._allowed = frozenset(name.lower().encode() for name in allowed)
        self._checks = bool(self._allowed) or loopback
        self._loopback = loopback
        self._browsers = browsers
        self._known: dict[bytes, bool] = {}

    def why_not(self, host: bytes, origin: bytes | None, site: bytes) -> str | None:
        """Why a request is refused; ``None``: it is not.

        Args:
            host: the ``Host`` header.
            origin: the ``Origin`` header, if there is one.
            site: the ``Sec-Fetch-Site`` header, or nothing.
        """
        if self._checks and not self._is_ours(host):
            return "the gateway is not known by this Host; allowed_hosts in its configuration names those that are"
        if self._browsers:
            return None
        if origin is not None and origin.lower() not in {b"http://" + host.lower(), b"https://" + host.lower()}:
            return "pages of another Origin may not call"
        return None if site.lower() in _NEAR else "pages of another site may not call"

    def _is_ours(self, host: bytes) -> bool:
        known = self._known.get(host)
        if known is None:
            name = _name(host)
            known = (
                host.lower() in self._allowed
                or name in self._allowed
                or (self._loopback and is_loopback(name.decode("latin-1")))
            )
            if len(self._known) < 256:  # noqa: PLR2004 - nobody has that many names
                self._known[host] = known
        return known


def _name(host: bytes) -> bytes:
    """A ``Host`` without its port."""
    lower = host.lower()
    if lower.startswith(b"["):
        return lower[1:].partition(b"]")[0]
    return lower.partition(b":")[0]


def is_loopback(name: str) -> bool:
    """Whether a name or an address is this machine's own, and no other can reach it by that.

    >>> is_loopback("localhost"), is_loopback("127.0.0.9"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def require_loopback(config: Config) -> None:
    """Makes sure that only this machine reaches a gateway that asks for no key.

    Raises:
        ConfigError: when others could.
    """
    settings = config.gateway
    if settings.auth == "none" and not is_loopback(settings.host):
        msg = f'auth = "none" lets whoever reaches {settings.host} spend: listen on 127.0.0.1, or take keys'
        raise ConfigError(msg)
