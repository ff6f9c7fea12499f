"""Which upstreams are signed for, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from taximeter.errors import ConfigError
from taximeter.gateway.config import Config, UpstreamSettings
from taximeter.gateway.signing.bedrock import BedrockSigner, has_aws_credentials
from taximeter.gateway.signing.vertex import VertexSigner, has_google_credentials
from taximeter.gateway.upstreams import KINDS, Kind, Upstreams, kind_of, region_of

Signer = BedrockSigner | VertexSigner

_START_S: Final = 10.0
_LIBRARIES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "sigv4": (("botocore",), "gateway-aws"),
    "oauth": (("google.auth", "requests"), "gateway-google"),
}
"""What signs, by how an upstream takes credentials, and the extra that brings it."""


def find_signers(config: Config, variables: Mapping[str, str]) -> dict[str, Signer]:
    """Signers by the name of their upstream. None of them has started, and none has opened anything.

    There is one for each upstream that the configuration names, and for those whose credentials the environment points
    to.

    Args:
        config: what the gateway is told.
        variables: the environment, and what the secrets file adds.

    Raises:
        ConfigError: when an upstream that the configuration names needs a library that is not installed.
    """
    found: dict[str, Signer] = {}
    if config.gateway.auth == "passthrough":
        return found
    for name in dict.fromkeys((*KINDS, *config.upstreams)):
        settings = config.upstreams.get(name, UpstreamSettings())
        kind = kind_of(name, settings)
        if kind.way not in _LIBRARIES or not settings.enabled or _has_key(settings, kind, variables):
            continue
        points = has_aws_credentials if kind.way == "sigv4" else has_google_credentials
        named = name in config.upstreams
        if not (named or points(variables)) or not _is_installed(name, kind.way, named=named):
            continue
        region = region_of(settings, kind, variables)
        if kind.way == "oauth":
            found[name] = VertexSigner(variables)
        elif region is not None:
            found[name] = BedrockSigner(region, variables)
    return found


def _has_key(settings: UpstreamSettings, kind: Kind, variables: Mapping[str, str]) -> bool:
    """Whether an upstream has a key, which then goes in the place of a signature."""
    names = kind.key_env if settings.key_env is None else (settings.key_env,)
    return settings.key_file is not None or any(variables.get(name) for name in names)


def _is_installed(name: str, way: str, *, named: bool) -> bool:
    modules, extra = _LIBRARIES[way]
    try:
        missing = [module for module in modules if find_spec(module) is None]
    except ModuleNotFoundError:  # the package around it
        missing = list(modules)
    if missing and named:
        msg = f"[upstreams.{name}]: calls to it are signed, and what does that is missing: taximeter[{extra}]"
        raise ConfigError(msg)
    return not missing


class Signing:
    """The signers of a process, over reloads: what signs as before goes on, with the credentials that it has."""

    def __init__(self) -> None:
        self._running: dict[tuple[object, ...], Signer] = {}
        self._waited = False

    def take(self, found: Mapping[str, Signer]) -> dict[str, Signer]:
        """The signers to use: those that run already in the place of their equals."""
        return {name: self._running.get(signer.identity, signer) for name, signer in found.items()}

    def run(self, signers: Mapping[str, Signer], upstreams: Upstreams) -> None:
        """Starts those that upstreams use, and ends the others. The first time their credentials are waited for."""
        used = [
            signer
            for name, signer in signers.items()
            if name in upstreams.active and upstreams.active[name].sign is signer
        ]
        for signer in used:
            signer.fresh.start()
        before, self._running = self._running, {signer.identity: signer for signer in used}
        for identity, signer in before.items():
            if identity not in self._running:
                signer.fresh.close()
        if not self._waited:
            self._waited = True  # a reload is done by the loop, which waits for nothing
            for signer in used:
                signer.fresh.start(_START_S)
