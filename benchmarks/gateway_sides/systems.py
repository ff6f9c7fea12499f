"""The gateways that are measured, each in its usual setup in front of the mock provider.

Nothing is fetched: a system is measured where it is installed, and each of them is told to look for nothing beyond this
machine. All of them run with one worker, which is what one core can use.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gateway_sides.processes import free_port
from gateway_sides.tools import MODEL, Target

KEY: Final = "sk-of-no-use"
QUIET: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "NO_PROXY": "*",
    "no_proxy": "*",
}


class Place(NamedTuple):
    """What a system is set up with.

    Attributes:
        folder: of its own.
        port: it is to listen on.
        upstream: the mock provider's port.
        program: what is started: a path.
    """

    folder: Path
    port: int
    upstream: int
    program: str

    def file(self, name: str, text: str) -> str:
        """Writes a file of settings; its path."""
        (self.folder / name).write_text(text, "utf-8")
        return str(self.folder / name)


class Setup(NamedTuple):
    """A system that is ready to be started.

    Attributes:
        command: what starts it.
        target: where it takes calls.
        environment: what it needs besides the common one.
        address: a file into which it writes the port it has taken, where it takes none that it is told.
        booked: given how many calls it has answered well, what is wrong with its books once it has been stopped; in
            words, empty if nothing is.
    """

    command: list[str]
    target: Target
    environment: Mapping[str, str] = {}
    address: Path | None = None
    booked: Callable[[int], str] | None = None


class Kind(NamedTuple):
    """A system before it is set up.

    Attributes:
        program: its name on the PATH, or in the folder of a ``--python``; empty: it is that interpreter itself.
        set_up: makes it ready.
        passes_whole: whether its whole answers are as long as the provider's own.
        passes_streams: whether its streams are.
    """

    program: str
    set_up: Callable[[Place], Setup]
    passes_whole: bool = False
    passes_streams: bool = False


def environment(home: Path) -> dict[str, str]:
    """What every system is started with: nothing of the caller's but the PATH."""
    return QUIET | {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


def find(name: str, kind: Kind, pythons: Mapping[str, str], programs: Mapping[str, str]) -> str | None:
    """Where a system's program is; ``None``: it is not installed."""
    if name in programs:
        return shutil.which(programs[name])
    if not kind.program:
        return pythons.get(name)
    folder = Path(pythons[name]).parent if name in pythons else None
    return shutil.which(kind.program, path=str(folder) if folder else None)


def _nginx(place: Place) -> Setup:
    config = f"""
        daemon off; worker_processes 1; pid {place.folder}/pid; error_log {place.folder}/errors crit;
        worker_rlimit_nofile 8192;
        events {{ worker_connections 8192; }}
        http {{
            access_log off; keepalive_requests 100000000; client_max_body_size 64m; tcp_nodelay on;
            client_body_temp_path {place.folder}; proxy_temp_path {place.folder}; fastcgi_temp_path {place.folder};
            uwsgi_temp_path {place.folder}; scgi_temp_path {place.folder};
            upstream provider {{ server 127.0.0.1:{place.upstream}; keepalive 1024; keepalive_requests 100000000; }}
            server {{
                listen 127.0.0.1:{place.port} backlog=4096;
                location / {{
                    proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_buffering off; proxy_request_buffering off;
                }}
            }}
        }}"""
    return Setup([place.program, "-c", place.file("nginx.conf", config), "-e", "stderr"], Target(place.port))


def _haproxy(place: Place) -> Setup:
    config = f"""
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 10s
    timeout client 600s
    timeout server 600s
    option http-no-delay
    http-reuse always
frontend clients
    bind 127.0.0.1:{place.port} backlog 4096
    default_backend provider
backend provider
    server mock 127.0.0.1:{place.upstream} pool-max-conn 1024
"""
    return Setup([place.program, "-db", "-f", place.file("haproxy.cfg", config)], Target(place.port))


_MANAGER: Final = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_ROUTER: Final = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def _envoy(place: Place) -> Setup:
    def address(port: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    route = {"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "clients",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": address(place.upstream)}}
    cluster = {
        "name": "provider",
        "type": "STATIC",
        "circuit_breakers": {
            "thresholds": [{"max_connections": 8192, "max_requests": 8192, "max_pending_requests": 8192}]
        },
        "load_assignment": {"cluster_name": "provider", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"name": "clients", "address": address(place.port), "filter_chains": [chain]}
    config = json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
    command = [place.program, "--concurrency", "1", "--log-level", "error", "-c", place.file("envoy.json", config)]
    return Setup([*command, "--disable-hot-restart"], Target(place.port))


def _router(*more: str) -> Callable[[Place], Setup]:
    def set_up(place: Place) -> Setup:
        address = ["--host", "127.0.0.1", "--port", str(place.port), "--prometheus-port", str(free_port())]
        workers = ["--worker-urls", f"http://127.0.0.1:{place.upstream}", "--policy", "round_robin"]
        return Setup([place.program, *more, *address, *workers, "--log-level", "error"], Target(place.port))

    return set_up


_TENSORZERO: Final = """
import sys, time
from tensorzero.tensorzero import _start_http_gateway as start
gateway = start(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print(gateway.base_url.split(":")[2].split("/")[0], file=open(sys.argv[2], "w"), flush=True)
time.sleep(86400)
"""


def _tensorzero(place: Place) -> Setup:
    config = f"""
[gateway]
observability.enabled = false
[models.mock]
routing = ["mock"]
[models.mock.providers.mock]
type = "openai"
model_name = "{MODEL}"
api_base = "http://127.0.0.1:{place.upstream}/v1/"
"""
    script, file = place.file("gateway.py", _TENSORZERO), place.file("tensorzero.toml", config)
    address = place.folder / "address"
    target = Target(place.port, "/openai/v1/chat/completions", model="tensorzero::model_name::mock")
    return Setup([place.program, script, file, str(address)], target, {"OPENAI_API_KEY": KEY}, address)


def _mlflow(place: Place) -> Setup:
    config = f"""
endpoints:
  - name: mock
    endpoint_type: llm/v1/chat
    model:
      provider: openai
      name: {MODEL}
      config:
        openai_api_key: {KEY}
        openai_api_base: http://127.0.0.1:{place.upstream}/v1
"""
    address = ["--host", "127.0.0.1", "--port", str(place.port), "--workers", "1"]
    command = [place.program, "gateway", "start", "--config-path", place.file("mlflow.yaml", config), *address]
    path = os.pathsep.join([str(Path(place.program).parent), os.environ["PATH"]])  # it starts gunicorn from there
    return Setup(command, Target(place.port, model="mock", end="}"), {"PATH": path})  # it sends no [DONE]


def _portkey(place: Place) -> Setup:
    headers = (
        f"Authorization: Bearer {KEY}",
        "x-portkey-provider: openai",
        f"x-portkey-custom-host: http://127.0.0.1:{place.upstream}/v1",
    )
    node = ["node", place.program, f"--port={place.port}", "--headless"]
    return Setup(node, Target(place.port, headers=headers), {"NODE_ENV": "production"})


def _litellm(place: Place) -> Setup:
    config = f"""
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: http://127.0.0.1:{place.upstream}/v1
      api_key: {KEY}
general_settings:
  master_key: {KEY}
litellm_settings:
  telemetry: false
"""
    address = ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]
    return Setup(
        [place.program, "--config", place.file("litellm.yaml", config), *address, "--telemetry", "False"],
        Target(place.port, headers=(f"Authorization: Bearer {KEY}",)),
    )


PEERS: Final = {
    "haproxy": Kind("haproxy", _haproxy, passes_whole=True, passes_streams=True),
    "envoy": Kind("envoy", _envoy, passes_whole=True, passes_streams=True),
    "vllm-router": Kind("vllm-router", _router()),
    "sglang-router": Kind("sglang-router", _router("launch")),
    "tensorzero": Kind("", _tensorzero),
    "mlflow": Kind("mlflow", _mlflow),
    "portkey": Kind("portkey-gateway", _portkey),
    "litellm": Kind("litellm", _litellm),
}
NGINX: Final = Kind("nginx", _nginx, passes_whole=True, passes_streams=True)
