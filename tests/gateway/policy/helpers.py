"""Gates for tests: with upstreams of a made-up environment, and keys in a store of the test's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from taximeter.gateway.config import Config, GatewaySettings, UpstreamSettings
from taximeter.gateway.gate import Gate
from taximeter.gateway.keys import KeyRing, hash_key, mint, new_key_id
from taximeter.gateway.plan import Aim, Destination, Header, Local, Refusal
from taximeter.gateway.secrets import key_secret
from taximeter.gateway.upstreams import KINDS, Upstreams, find_upstreams
from taximeter.store.keys import Grants, KeyRecord, KeyStore, new_record

ENVIRONMENT = {name: f"real-{kind}-key-0123456789" for kind, known in KINDS.items() for name in known.key_env[:1]} | {
    "AZURE_OPENAI_ENDPOINT": "https://corp.openai.azure.com",
    "AWS_REGION": "eu-west-1",
    "VLLM_BASE_URL": "http://gpu-1:8000/v1",
}
"""An environment in which every known upstream but Vertex has a key."""

JSON: list[Header] = [(b"Host", b"localhost:8080"), (b"Content-Type", b"application/json")]


def config(upstreams: Mapping[str, UpstreamSettings] | None = None, **gateway: Any) -> Config:
    """A configuration with some keys of ``[gateway]``."""
    return Config(gateway=GatewaySettings(**gateway), upstreams=dict(upstreams or {}))


def upstreams(told: Config | None = None) -> Upstreams:
    """Every known upstream that has a key here."""
    return find_upstreams(told or config(), ENVIRONMENT)


class Keyed:
    """A gate that takes virtual keys, with its store."""

    def __init__(self, folder: Path, told: Config | None = None) -> None:
        told = told or config()
        self.store = KeyStore(str(folder / "store.sqlite3"))
        self.secret = key_secret(self.store.path, {})
        self.ring = KeyRing(self.store, self.secret)
        self.gate = Gate(told, upstreams(told), keys=self.ring)

    def key(self, name: str = "a", *, expires_at: datetime | None = None, **grants: Any) -> str:
        """Makes a key that the gate knows at once."""
        made = mint()
        self.record(name, made, expires_at=expires_at, **grants)
        return made

    def record(self, name: str, made: str, *, expires_at: datetime | None = None, **grants: Any) -> KeyRecord:
        """Keeps a key that was made."""
        hashed = hash_key(self.secret, made)
        record = new_record(name, new_key_id(), hashed, Grants(**grants), expires_at=expires_at)
        self.store.create(record)
        self.ring.refresh()
        return record


def admit(
    gate: Gate, target: str, *headers: Header, method: str = "POST", key: str | None = None
) -> Aim | Local | Refusal:
    """Asks the gate of a head."""
    given = [*JSON, *headers]
    if key is not None:
        given.append((b"Authorization", b"Bearer " + key.encode()))
    return gate.admit(method.encode(), target.encode(), given, "127.0.0.1")


def call(
    gate: Gate, target: str, *headers: Header, method: str = "POST", key: str | None = None, body: Any = None
) -> Destination | Refusal:
    """Asks the gate of a head, and of the body where it wants that."""
    said = admit(gate, target, *headers, method=method, key=key)
    if isinstance(said, Refusal):
        return said
    assert isinstance(said, Aim)
    if not said.needs_body:
        assert said.destination is not None
        return said.destination
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    return gate.aim(said, method.encode(), target.encode(), raw)


def goes(said: Destination | Refusal) -> Destination:
    """The destination; fails where the call was refused."""
    assert isinstance(said, Destination), said
    return said


def refused(said: object) -> tuple[int, str]:
    """The status and the code of a refusal; fails where there is none."""
    assert isinstance(said, Refusal), said
    return said.status, said.code
