"""Opening a gate: what is read from files, the environment and the store, in each process that serves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taximeter.gateway.config import Config, load
from taximeter.gateway.gate import AskOfCall, Gate, OwnAnswer
from taximeter.gateway.keys import KeyRing
from taximeter.gateway.models import ModelLists
from taximeter.gateway.plan import Sign
from taximeter.gateway.secrets import Variables, key_secret
from taximeter.gateway.signing.finding import Signing, find_signers
from taximeter.gateway.upstreams import Upstreams, find_upstreams
from taximeter.store import locate
from taximeter.store.keys import KeyStore

Own = Mapping[bytes, OwnAnswer]
"""What is answered here, by path."""


def open_gate(  # noqa: PLR0913 - each is one thing that a gate is given
    config: Config,
    *,
    store_url: str | None = None,
    environment: Mapping[str, str] | None = None,
    signers: Mapping[str, Sign] | None = None,
    own: Own | None = None,
    calls: AskOfCall | None = None,
    models: ModelLists | None = None,
) -> Gate:
    """The gate of a process: reads the secrets, finds the upstreams, opens the keys, and starts to keep up with them.

    Args:
        config: what the gateway is told.
        store_url: where the keys are; ``None``: the default store.
        environment: the variables; ``None``: the process's.
        signers: what signs calls, by the name of the upstream.
        own: what is answered here beside ``/healthz`` and ``/readyz``, by path.
        calls: answers what became of a call.
        models: puts into lists of models what is known of them.

    Raises:
        ConfigError: for what cannot be used.
        StoreError: when the keys cannot be read.
    """
    variables = Variables(environment, config.gateway.secrets_file)
    upstreams = find_upstreams(config, variables, signers)
    if config.gateway.auth == "none":
        return Gate(config, upstreams, own=own, calls=calls, models=models)
    if config.gateway.auth == "passthrough":
        location = locate(store_url)
        if location.default:
            location.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Gate(config, upstreams, secret=key_secret(location.path, variables), own=own, calls=calls, models=models)
    ring = open_ring(store_url, variables)
    ring.start()
    return Gate(config, upstreams, keys=ring, own=own, calls=calls, models=models)


def open_ring(store_url: str | None, variables: Mapping[str, str]) -> KeyRing:
    """The keys of a store, read once; ``start`` has it keep up with changes.

    Raises:
        ConfigError: when the secret cannot be used.
        StoreError: when the keys cannot be read.
    """
    store = KeyStore(store_url)
    try:
        return KeyRing(store, key_secret(store.path, variables))
    except BaseException:
        store.close()
        raise


def read_upstreams(config: Config, environment: Mapping[str, str] | None = None) -> Upstreams:
    """The upstreams as a gate would find them.

    Raises:
        ConfigError: for what cannot be used.
    """
    variables = Variables(environment, config.gateway.secrets_file)
    return find_upstreams(config, variables, find_signers(config, variables))


class GateMaker:
    """Makes a process's gates: one at the start, and one at each reload, from the files as they are then.

    The one before stops keeping up with keys when the next is made; calls under way go on with it. May be pickled.

    Args:
        path: of the configuration file, as for :func:`taximeter.gateway.config.load`.
        store_url: where the keys are.
        said: keys of ``[gateway]`` that were said on the command line.
    """

    def __init__(self, path: str | Path | None, store_url: str | None, said: Mapping[str, Any]) -> None:
        self._path = None if path is None else Path(path).absolute()
        self._store_url = store_url
        self._said = dict(said)
        self._last: tuple[int, Gate] | None = None
        self._signing = Signing()

    def __call__(
        self, own: Own | None = None, calls: AskOfCall | None = None, models: ModelLists | None = None
    ) -> Gate:
        """A gate.

        Args:
            own: as for :func:`open_gate`.
            calls: as for :func:`open_gate`.
            models: as for :func:`open_gate`.

        Raises:
            ConfigError: for what cannot be used; the gate before then stays as it is.
            StoreError: when the keys cannot be read.
        """
        config = load(self._path, **self._said)
        signers = self._signing.take(find_signers(config, Variables(file=config.gateway.secrets_file)))
        made = open_gate(config, store_url=self._store_url, signers=signers, own=own, calls=calls, models=models)
        self._signing.run(signers, made.upstreams)
        if self._last is not None and self._last[0] == os.getpid():
            self._last[1].close(wait=False)
        self._last = (os.getpid(), made)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None, "_signing": Signing()}
