"""The upstreams: what is known of each provider, what the configuration adds, and which of them can be called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from taximeter.errors import ConfigError
from taximeter.gateway.config import Config, UpstreamSettings
from taximeter.gateway.keys import PREFIX
from taximeter.gateway.plan import Family, Header, Origin, Sign
from taximeter.gateway.secrets import read_key_file
from taximeter.wire.injection import needs_asking

Way = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "sigv4", "oauth", "open"]
"""How an upstream takes credentials; ``open``: a bearer if there is one, and none otherwise."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a provider. Each address and way is that of the provider's own reference (read 2026-11).

    Attributes:
        provider: as price books know it.
        base_url: where its own paths begin; ``{region}`` and ``{project}`` are filled in; ``None``: must be said.
        way: how it takes credentials.
        key_env: the variables that may hold its key, the first that is set wins.
        url_env: the variable that may hold its address.
        region_env: the variables that may hold its region.
        openai_base: the path that stands for ``/v1`` where it speaks OpenAI's API; ``None``: it does not.
        family: whose error format its own paths have.
        slashed: its own models are called ``a/b``, so that the first word chooses no upstream.
    """

    provider: str
    base_url: str | None = None
    way: Way = "bearer"
    key_env: tuple[str, ...] = ()
    url_env: str | None = None
    region_env: tuple[str, ...] = ()
    openai_base: str | None = "/v1"
    family: Family = "openai"
    slashed: bool = False


_AWS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")

KINDS: Final[Mapping[str, Kind]] = {
    "openai": Kind(provider="openai", base_url="https://api.openai.com", key_env=("OPENAI_API_KEY",)),
    "anthropic": Kind(
        provider="anthropic",
        base_url="https://api.anthropic.com",
        way="x-api-key",
        key_env=("ANTHROPIC_API_KEY",),
        family="anthropic",
    ),
    "gemini": Kind(
        provider="google",
        base_url="https://generativelanguage.googleapis.com",
        way="x-goog-api-key",
        key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        openai_base="/v1beta/openai",
        family="gemini",
    ),
    "vertex": Kind(
        provider="vertex",
        base_url="https://{region}-aiplatform.googleapis.com",
        way="oauth",
        region_env=("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"),
        openai_base="/v1/projects/{project}/locations/{region}/endpoints/openapi",
        family="gemini",
    ),
    "azure": Kind(
        provider="azure",
        way="api-key",
        key_env=("AZURE_OPENAI_API_KEY",),
        url_env="AZURE_OPENAI_ENDPOINT",
        openai_base="/openai/v1",
    ),
    "bedrock": Kind(
        provider="bedrock",
        base_url="https://bedrock-runtime.{region}.amazonaws.com",
        way="sigv4",
        key_env=("AWS_BEARER_TOKEN_BEDROCK",),
        region_env=_AWS,
        openai_base="/openai/v1",
        family="bedrock",
    ),
    "groq": Kind(provider="groq", base_url="https://api.groq.com", key_env=("GROQ_API_KEY",), openai_base="/openai/v1"),
    "cerebras": Kind(provider="cerebras", base_url="https://api.cerebras.ai", key_env=("CEREBRAS_API_KEY",)),
    "mistral": Kind(provider="mistral", base_url="https://api.mistral.ai", key_env=("MISTRAL_API_KEY",)),
    "deepseek": Kind(provider="deepseek", base_url="https://api.deepseek.com", key_env=("DEEPSEEK_API_KEY",)),
    "xai": Kind(provider="xai", base_url="https://api.x.ai", key_env=("XAI_API_KEY",)),
    "openrouter": Kind(
        provider="openrouter",
        base_url="https://openrouter.ai",
        key_env=("OPENROUTER_API_KEY",),
        openai_base="/api/v1",
        slashed=True,
    ),
    "together": Kind(provider="together", base_url="https://api.together.xyz", key_env=("TOGETHER_API_KEY",)),
    "fireworks": Kind(
        provider="fireworks",
        base_url="https://api.fireworks.ai",
        key_env=("FIREWORKS_API_KEY",),
        openai_base="/inference/v1",
    ),
    "cohere": Kind(
        provider="cohere",
        base_url="https://api.cohere.com",
        key_env=("COHERE_API_KEY", "CO_API_KEY"),
        openai_base="/compatibility/v1",
    ),
    "perplexity": Kind(
        provider="perplexity",
        base_url="https://api.perplexity.ai",
        key_env=("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        openai_base="",
    ),
    "ollama": Kind(
        provider="ollama",
        base_url="http://127.0.0.1:11434",
        way="open",
        key_env=("OLLAMA_API_KEY",),
        url_env="OLLAMA_HOST",
    ),
    "vllm": Kind(provider="vllm", way="open", key_env=("VLLM_API_KEY",), url_env="VLLM_BASE_URL"),
}
"""The known upstreams, by the name under which they are mounted."""

_CUSTOM: Final = Kind(provider="", way="open")
"""An upstream that the configuration alone knows: it speaks OpenAI's API, and takes a key if it is given one."""

_HOSTS: Final[Mapping[str, str]] = {
    "azure": "resource.openai.azure.com",
    "bedrock": "bedrock-runtime.us-east-1.amazonaws.com",
    "vertex": "aiplatform.googleapis.com",
    "ollama": "localhost:11434",
}
"""A provider's own host, where :data:`KINDS` has none as it stands: the tables of ``wire`` know providers by host."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream that can be called.

    Attributes:
        name: under which it is mounted.
        kind: what is known of it.
        provider: as price books know it.
        origin: where to connect.
        host: the ``Host`` header.
        prefix: the path before its own paths.
        openai_base: the path that stands for ``/v1`` in OpenAI's API; ``None``: it does not speak it.
        known_host: the provider's own host, by which ``wire`` knows it.
        headers: what the configuration adds to each call.
        key: its key; ``None``: it needs none, is signed, or clients bring theirs.
        way: how the key goes.
        sign: signs calls.
        asks: what was said about asking its streams for their usage.
    """

    name: str
    kind: Kind
    provider: str
    origin: Origin
    host: bytes
    prefix: bytes
    openai_base: bytes | None
    known_host: str
    headers: tuple[Header, ...] = ()
    key: str | None = None
    way: Way = "bearer"
    sign: Sign | None = None
    asks: bool | None = None

    def __repr__(self) -> str:
        return f"<Upstream {self.name}: {self.origin.host}:{self.origin.port}>"  # never its key

    def credentials(self, path: bytes) -> tuple[Header, ...]:
        """The headers that hold its key, on one of its own paths.

        Where a provider imitates OpenAI's API, it takes its key as OpenAI does.
        """
        if self.key is None:
            return ()
        imitation = self.way != "api-key" and (b"/openai/" in path or _OPENAI_PATH.search(path) is not None)
        if imitation or self.way in {"bearer", "open", "sigv4", "oauth"}:
            return ((b"authorization", b"Bearer " + self.key.encode()),)
        return ((self.way.encode(), self.key.encode()),)


_OPENAI_PATH: Final = re.compile(rb"^/v1/(?:chat/completions|embeddings|responses)$")


class Upstreams(msgspec.Struct, frozen=True):
    """All upstreams.

    Attributes:
        active: those that can be called, by name.
        inactive: why the others cannot, by name.
    """

    active: Mapping[str, Upstream]
    inactive: Mapping[str, str]

    def secrets(self) -> list[str]:
        """Every key, so that errors can be searched for them."""
        return [upstream.key for upstream in self.active.values() if upstream.key]


def find_upstreams(
    config: Config, variables: Mapping[str, str], signers: Mapping[str, Sign] | None = None
) -> Upstreams:
    """The known upstreams and the configuration's, with their keys.

    Args:
        config: what the gateway is told.
        variables: the environment, and what the secrets file adds.
        signers: what signs calls, by the name of the upstream.

    Raises:
        ConfigError: for an address, a key file or a kind that cannot be used, and for defaults that do not exist.
    """
    active: dict[str, Upstream] = {}
    inactive: dict[str, str] = {}
    for name in dict.fromkeys((*KINDS, *config.upstreams)):
        settings = config.upstreams.get(name, UpstreamSettings())
        found = _find(
            name, settings, variables, (signers or {}).get(name), needs_key=config.gateway.auth != "passthrough"
        )
        if isinstance(found, str):
            inactive[name] = found
        else:
            active[name] = found
    for family in ("openai", "anthropic", "gemini"):
        chosen: str = getattr(config.defaults, family)
        if chosen not in active and chosen not in inactive:
            msg = f"{config.path}: [defaults]: {family}: there is no upstream {chosen!r}; there are {', '.join(active)}"
            raise ConfigError(msg)
    return Upstreams(active, inactive)


def _find(
    name: str, settings: UpstreamSettings, variables: Mapping[str, str], sign: Sign | None, *, needs_key: bool
) -> Upstream | str:
    """The upstream, or why it cannot be called."""
    if not settings.enabled:
        return "switched off"
    kind = kind_of(name, settings)
    region = region_of(settings, kind, variables)
    address = settings.base_url or variables.get(kind.url_env or "", "").strip() or kind.base_url
    if address is None:
        return f"no address: set {kind.url_env} or base_url" if kind.url_env else "no address: set base_url"
    if "{region}" in address and region == "global":
        address = address.replace("{region}-", "")
    if "{region}" in address and region is None:
        return f"no region: set {kind.region_env[0]} or region"
    key = _key(name, settings, kind, variables)
    keyless = kind.way == "open" or sign is not None
    if key is not None and key.startswith(PREFIX) and settings.base_url is None:
        return "its key is one of a gateway's (tmk-…), not the provider's"
    if key is None and needs_key and not keyless:
        return _wanting(kind, settings)
    origin, prefix = _place(name, address.replace("{region}", region or ""), settings, kind)
    default_port = origin.port == (443 if origin.tls else 80)
    shown = f"[{origin.host}]" if ":" in origin.host else origin.host
    provider = settings.provider or kind.provider or name
    anywhere = kind.provider in {"vllm", ""}  # there is no host to know it by
    return Upstream(
        name=name,
        kind=kind,
        provider=provider,
        origin=origin,
        host=(shown if default_port else f"{shown}:{origin.port}").encode(),
        prefix=prefix.encode(),
        openai_base=_openai_base(kind, settings, region),
        known_host=_known_host(provider, kind),
        headers=tuple((header.encode(), value.encode()) for header, value in settings.headers.items()),
        key=key,
        way=kind.way,
        sign=None if key else sign,  # Bedrock takes a key in place of a signature
        asks=(needs_asking(provider) or None) if settings.inject_usage is None and anywhere else settings.inject_usage,
    )


def region_of(settings: UpstreamSettings, kind: Kind, variables: Mapping[str, str]) -> str | None:
    """The region that an upstream is called in: what was said, else what the environment says."""
    return settings.region or next((variables[env] for env in kind.region_env if variables.get(env)), None)


def kind_of(name: str, settings: UpstreamSettings) -> Kind:
    """What is known of an upstream.

    Raises:
        ConfigError: for a kind that there is not.
    """
    if settings.kind is None:
        return KINDS.get(name, _CUSTOM)
    if settings.kind not in KINDS:
        msg = f"[upstreams.{name}]: kind: there is no {settings.kind!r}; there are {', '.join(KINDS)}"
        raise ConfigError(msg)
    return KINDS[settings.kind]


def _key(name: str, settings: UpstreamSettings, kind: Kind, variables: Mapping[str, str]) -> str | None:
    if settings.key_file is not None:
        return read_key_file(Path(settings.key_file).expanduser())
    # A key belongs to one address: the provider's own key does not go to an upstream that has another name.
    names = (settings.key_env,) if settings.key_env else kind.key_env if KINDS.get(name) is kind else ()
    key = next((variables[env].strip() for env in names if variables.get(env, "").strip()), None)
    if key is not None and (not key.isascii() or not key.isprintable() or " " in key):
        msg = f"[upstreams.{name}]: {' or '.join(names)} holds what cannot be sent as a key"
        raise ConfigError(msg)
    return key


def _wanting(kind: Kind, settings: UpstreamSettings) -> str:
    if kind.way == "oauth":
        return "no credentials: set GOOGLE_APPLICATION_CREDENTIALS, and install taximeter[gateway-google]"
    names = settings.key_env or (kind.key_env[0] if kind.key_env else "")
    return f"no key: set {names}" if names else "no key: set key_env or key_file"


def _openai_base(kind: Kind, settings: UpstreamSettings, region: str | None) -> bytes | None:
    base = kind.openai_base
    if base is not None and "{project}" in base:
        if settings.project is None or region is None:
            return None
        base = base.replace("{project}", settings.project).replace("{region}", region)
    return None if base is None else base.encode()


def _known_host(provider: str, kind: Kind) -> str:
    """A provider's own host: of the provider that was named, else of the kind."""
    like = next((known for known in KINDS.values() if known.provider == provider), kind)
    if like.provider in _HOSTS:
        return _HOSTS[like.provider]
    return "" if like.base_url is None else urlsplit(like.base_url).netloc


_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~:@!$&'()*+,=-]+)*")
_ANYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - what OLLAMA_HOST says of where to listen, not where we do


def _place(name: str, address: str, settings: UpstreamSettings, kind: Kind) -> tuple[Origin, str]:
    """The origin and the path prefix of an address."""
    where = f"[upstreams.{name}]: base_url"
    if "://" not in address and kind.url_env == "OLLAMA_HOST":
        address = f"http://{address}"  # as Ollama itself takes it: a host, with or without port
    problem = ""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        parts, port, problem = urlsplit(""), None, f" ({error})"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = f"{where}: a URL such as https://llm.internal/v1 is wanted{problem}"
        raise ConfigError(msg)
    if parts.username is not None or parts.query or parts.fragment:
        msg = f"{where}: {parts.hostname}: a URL without a user, a query or a fragment is wanted"
        raise ConfigError(msg)
    prefix = parts.path.rstrip("/")
    if _PATH.fullmatch(prefix) is None or any(part in {".", ".."} for part in prefix.split("/")):
        msg = f"{where}: {parts.hostname}: its path holds what a path cannot"
        raise ConfigError(msg)
    end = kind.openai_base
    if end and prefix.endswith(end):  # SDKs are given it with the address, and here each path says it all the same
        prefix = prefix.removesuffix(end)
    tls = parts.scheme == "https"
    host = "127.0.0.1" if parts.hostname in _ANYWHERE else parts.hostname
    verify = settings.verify if settings.ca_file is None else str(Path(settings.ca_file).expanduser())
    default = 11434 if kind.url_env == "OLLAMA_HOST" and not tls else 443 if tls else 80
    return Origin(host, port or default, tls, (settings.server_name or host) if tls else None, verify), prefix
