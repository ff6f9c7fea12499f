"""What the gateway is told: a TOML file, the environment over it, and the command line over both.

Secrets are never in the file: it names the environment variables, or the files, that hold them (``secrets.py``).
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from taximeter.errors import ConfigError

FILE: Final = "taximeter.toml"
"""The file that is read where none is named, if it is there."""

SETTING: Final = "TAXIMETER_CONFIG"
"""The environment variable that names the file."""

_PREFIX: Final = "TAXIMETER_"

Auth = Literal["keys", "passthrough", "none"]

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
_SettingsT = TypeVar("_SettingsT", bound=msgspec.Struct)


class ServingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Time-outs and limits of the data plane; each is a key of ``[gateway]``.

    Attributes:
        connect_s: for a connection to an upstream, TLS included.
        first_byte_s: from the request's end until the upstream's head. Models may think for minutes.
        idle_s: between two pieces of an answer.
        head_s: for a client's head, from its first byte.
        body_s: between two pieces of a client's body.
        keep_alive_s: that a client's connection is kept without a call.
        upstream_keep_alive_s: that an upstream's connection is kept without a call.
        drain_s: that calls under way have to finish when the gateway is stopped.
        max_connections: clients' connections that a worker holds.
        max_upstream_connections: connections that a worker opens to one upstream.
        max_target_bytes: a request's path with its query.
        max_head_bytes: a head, the client's or the upstream's.
        max_headers: headers in a head.
        max_body_bytes: a request's body.
        max_held_bytes: a body that is held whole because its model decides where it goes.
        max_edited_bytes: an answer that is held whole, so that its cost can be told in its head.
        on_disconnect: what becomes of a call whose client has gone: ``close`` ends it at the upstream; ``drain`` reads
            the rest for the books, since some providers bill on.
        max_drained_bytes: how much of an answer ``drain`` reads before it closes all the same.
        on_break: what a client of a stream is told when the upstream breaks off: ``mirror`` breaks off too; ``event``
            says so in an error event before.
    """

    connect_s: _Seconds = 10.0
    first_byte_s: _Seconds = 600.0
    idle_s: _Seconds = 300.0
    head_s: _Seconds = 30.0
    body_s: _Seconds = 60.0
    keep_alive_s: _Seconds = 75.0
    upstream_keep_alive_s: _Seconds = 50.0
    drain_s: _Seconds = 30.0
    max_connections: _Count = 10_000
    max_upstream_connections: _Count = 1_000
    max_target_bytes: _Count = 16 << 10
    max_head_bytes: _Count = 64 << 10
    max_headers: _Count = 128
    max_body_bytes: _Count = 512 << 20
    max_held_bytes: _Count = 64 << 20
    max_edited_bytes: _Count = 1 << 20
    on_disconnect: Literal["close", "drain"] = "close"
    max_drained_bytes: _Count = 16 << 20
    on_break: Literal["mirror", "event"] = "mirror"


class GatewaySettings(ServingSettings, frozen=True, kw_only=True):
    """``[gateway]``. Each key is also set by the environment: ``port`` by ``TAXIMETER_GATEWAY_PORT``.

    Attributes:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        workers: processes that serve; ``None``: one per core.
        auth: ``keys``: clients have virtual keys; ``passthrough``: clients send their own provider keys, which are
            forwarded; ``none``: whoever reaches the gateway may spend, so only on loopback.
        cost_in_usage: whether clients are told the cost in the usage, where their key does not say otherwise.
        inject_usage: whether streams that did not ask for their usage are made to, where needed and accepted.
        allowed_hosts: names under which clients may address the gateway (``Host``); none given: any, and with
            ``auth = "none"`` those of loopback.
        secrets_file: a file of ``NAME=value`` lines that stand for environment variables.
    """

    host: str = "127.0.0.1"
    port: _Port = 8080
    workers: _Count | None = None
    auth: Auth = "keys"
    cost_in_usage: bool = True
    inject_usage: Literal["auto", "never"] = "auto"
    allowed_hosts: tuple[str, ...] = ()
    secrets_file: str | None = None


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[upstreams.NAME]``: an upstream of one's own, or what is different about a known one.

    Attributes:
        kind: the known upstream that this one is like; by default the one of its name, else ``openai``-shaped.
        provider: who is called, as price books know it.
        base_url: where it is; what ``/NAME`` stands for. The API's own ``/v1`` at its end may be left out.
        key_env: the environment variable that holds its key.
        key_file: the file that holds its key, and nothing else.
        headers: sent with every call; no credentials.
        region: of AWS or Google Cloud.
        project: of Google Cloud.
        ca_file: certificates of the authorities to trust instead of the system's.
        verify: whether its certificate is checked.
        server_name: the name that its certificate is held against, where that is not the host's.
        inject_usage: whether its streams may be asked for their usage; ``None``: where it is known to need that.
        enabled: ``False``: it is not mounted.
    """

    kind: str | None = None
    provider: str | None = None
    base_url: str | None = None
    key_env: str | None = None
    key_file: str | None = None
    headers: dict[str, str] = {}
    region: str | None = None
    project: str | None = None
    ca_file: str | None = None
    verify: bool = True
    server_name: str | None = None
    inject_usage: bool | None = None
    enabled: bool = True


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """``[defaults]``: the upstreams to which paths without a mount go.

    Attributes:
        openai: for ``/v1/chat/completions`` and its like.
        anthropic: for ``/v1/messages`` and its like.
        gemini: for ``/v1beta/models/…`` and its like.
    """

    openai: str = "openai"
    anthropic: str = "anthropic"
    gemini: str = "gemini"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the gateway is told, but for secrets.

    Attributes:
        path: the file that was read; ``None``: there is none.
        gateway: ``[gateway]``.
        upstreams: ``[upstreams.NAME]``, by name.
        defaults: ``[defaults]``.
    """

    path: Path | None = None
    gateway: GatewaySettings = GatewaySettings()
    upstreams: dict[str, UpstreamSettings] = {}
    defaults: Defaults = Defaults()


def load(path: str | Path | None = None, environment: Mapping[str, str] | None = None, **said: object) -> Config:
    """Reads the file, the environment over it, and what is said in words over both.

    Args:
        path: the file; ``None``: the one that ``TAXIMETER_CONFIG`` names, else ``taximeter.toml`` here if it is there.
        environment: the variables; ``None``: the process's.
        said: keys of ``[gateway]``; those that are ``None`` are not said.

    Raises:
        ConfigError: for a file that cannot be read, a key that there is not, or a value that it cannot have.
    """
    environment = os.environ if environment is None else environment
    file = _find(path, environment)
    found = {} if file is None else _read(file)
    place = str(file or "")
    _check_keys(found, ("gateway", "upstreams", "defaults"), place)
    gateway = _section(found, "gateway", place)
    told = _values(GatewaySettings, gateway, f"{place}: [gateway]")
    told |= _from_environment(environment)
    told |= _values(GatewaySettings, {name: value for name, value in said.items() if value is not None}, "settings")
    defaults = _values(Defaults, _section(found, "defaults", place), f"{place}: [defaults]")
    upstreams = {
        name: _upstream(name, _section(_section(found, "upstreams", place), name, place), place)
        for name in _section(found, "upstreams", place)
    }
    return Config(path=file, gateway=GatewaySettings(**told), upstreams=upstreams, defaults=Defaults(**defaults))


def _find(path: str | Path | None, environment: Mapping[str, str]) -> Path | None:
    named = path or environment.get(SETTING, "").strip()
    if named:
        return Path(named).expanduser()
    return Path(FILE) if Path(FILE).is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{file}: is no TOML: {error}"
        raise ConfigError(msg) from error


def _section(found: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    section = found.get(name, {})
    if not isinstance(section, dict):
        msg = f"{place}: {name} is to be a table"
        raise ConfigError(msg)
    return section  # pyright: ignore[reportUnknownVariableType] - the keys of a TOML table are texts


_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")
_TAKEN: Final = re.compile(r"v\d+[a-z0-9]*|healthz|readyz|upload|api|taximeter")
"""What an upstream cannot be called, because paths without a mount, and the gateway's own, begin so."""


def _upstream(name: str, section: Mapping[str, Any], place: str) -> UpstreamSettings:
    where = f"{place}: [upstreams.{name}]"
    if _NAME.fullmatch(name) is None or _TAKEN.fullmatch(name) is not None:
        msg = (
            f"{where}: an upstream cannot be called {name!r}: a name is small letters, digits, - and _, and no version"
        )
        raise ConfigError(msg)
    for key in ("key", "api_key", "token", "secret"):
        if key in section:
            msg = f"{where}: {key}: no secret belongs in this file; name its variable (key_env) or its file (key_file)"
            raise ConfigError(msg)
    settings = UpstreamSettings(**_values(UpstreamSettings, section, where))
    for header, value in settings.headers.items():
        if header.lower() in _SECRET_HEADERS:
            msg = f"{where}: headers: {header} is a credential; name its variable (key_env) or its file (key_file)"
            raise ConfigError(msg)
        if _HEADER_NAME.fullmatch(header) is None or _HEADER_VALUE.fullmatch(value) is None:
            msg = f"{where}: headers: {header!r} is no header that can be sent"
            raise ConfigError(msg)
        if header.lower() in _OWN_HEADERS:
            msg = f"{where}: headers: {header} is the gateway's own to set"
            raise ConfigError(msg)
    return settings


_SECRET_HEADERS: Final = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization", "x-amz-security-token"}
)
_OWN_HEADERS: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "expect",
        "upgrade",
        "te",
        "trailer",
    }
)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")


_SERVICE_LINK: Final = re.compile(
    r"[A-Z_]+_(?:SERVICE_(?:HOST|PORT\w*)=.*|PORT(?:_\w+)?=(?:tcp|udp)://.*|PORT_\d+_\w+=.*)"
)
"""What Kubernetes tells every container of a service that is called ``taximeter-gateway``: nobody's settings."""


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    prefix = f"{_PREFIX}GATEWAY_"
    given = {
        name.removeprefix(prefix).lower(): text.strip()
        for name, text in environment.items()
        if name.startswith(prefix) and text.strip() and not _SERVICE_LINK.fullmatch(f"{name}={text}")
    }
    hints = get_type_hints(GatewaySettings, include_extras=True)
    values: dict[str, object] = {
        name: [part.strip() for part in text.split(",")] if name in hints and get_origin(hints[name]) is tuple else text
        for name, text in given.items()
    }
    return _values(GatewaySettings, values, f"the environment: {prefix}…", strict=False)


def _values(
    kind: type[_SettingsT], section: Mapping[str, object], where: str, *, strict: bool = True
) -> dict[str, Any]:
    """The section's values, each of the type that its key has."""
    hints = get_type_hints(kind, include_extras=True)
    _check_keys(section, hints, where)
    values: dict[str, Any] = {}
    for name, value in section.items():
        try:
            values[name] = msgspec.convert(value, hints[name], strict=strict)
        except msgspec.ValidationError as error:
            allowed = _choices(hints[name])
            said = f"one of {', '.join(allowed)} is wanted, not {value!r}" if allowed else str(error)
            msg = f"{where}: {name}: {said}"
            raise ConfigError(msg) from error
    return values


def _choices(hint: object) -> list[str]:
    return [repr(choice) for choice in get_args(hint)] if get_origin(hint) is Literal else []


def _check_keys(section: Mapping[str, object], known: Mapping[str, object] | tuple[str, ...], place: str) -> None:
    for name in section:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            msg = f"{place}: there is no {name}; {hint}"
            raise ConfigError(msg)
