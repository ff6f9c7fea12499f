"""``docs/gateway.md`` holds: its examples run against a gateway, its configuration is read, its tables are complete."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from taximeter.gateway.config import Config, GatewaySettings, UpstreamSettings, load
from taximeter.gateway.opening import open_gate
from taximeter.gateway.paths import ALLOWABLE
from taximeter.gateway.upstreams import KINDS
from taximeter.gateway.worker import Gateway
from taximeter.meter import Meter, Settings
from taximeter.simulator import Simulator

PAGE = Path(__file__).resolve().parents[3] / "docs" / "gateway.md"

NEEDS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google-genai",
    "langchain_openai": "langchain",
    "litellm": "litellm",
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def gateway_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway that asks for no key, before a simulated provider."""
    folder = tmp_path_factory.mktemp("gateway")
    meter = Meter(Settings(store=str(folder / "store.sqlite3")))
    with Simulator() as provider:
        told = {
            name: UpstreamSettings(base_url=provider.url(mount))
            for name, mount in (("openai", "openai"), ("anthropic", "anthropic"), ("gemini", "gemini"))
        }
        config = Config(gateway=GatewaySettings(auth="none"), upstreams=told)
        keys = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k"}
        with Gateway(lambda: open_gate(config, environment=keys), config.gateway, meter) as running:
            yield running.url
    meter.close()


def _library(block: str) -> str:
    """What an example imports beside ``os``."""
    return re.findall(r"^(?:import|from) (\S+)", block, re.MULTILINE)[1]


@pytest.mark.parametrize("block", _blocks("py"), ids=_library)
def test_an_example_runs(
    block: str,
    gateway_url: str,
    need: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It makes its call and prints what came; where its library is missing it is skipped."""
    need(NEEDS[_library(block)])
    monkeypatch.setenv("TAXIMETER_KEY", "tmk-of-the-page")
    assert "http://127.0.0.1:8080" in block
    code = block.replace("http://127.0.0.1:8080", gateway_url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, and clients that the page does not close
        exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102 - our own documentation
    assert capsys.readouterr().out.strip()


def test_the_configuration_is_read_and_names_every_key(tmp_path: Path) -> None:
    """The page's file is accepted, says the defaults, and leaves no key of ``[gateway]`` or of an upstream out."""
    (block,) = _blocks("toml")
    file = tmp_path / "taximeter.toml"
    file.write_text(block)
    found = load(file, {})
    assert set(found.upstreams) == {"openai", "llm"}
    for kind in (GatewaySettings, UpstreamSettings):
        for field in msgspec.structs.fields(kind):
            assert re.search(rf"^#? ?{field.name} = |{field.name} = ", block, re.MULTILINE), field.name
    said = {"workers", "allowed_hosts", "secrets_file"}
    plain = GatewaySettings()
    for field in msgspec.structs.fields(GatewaySettings):
        if field.name not in said:
            assert getattr(found.gateway, field.name) == getattr(plain, field.name), field.name


def test_the_tables_are_complete() -> None:
    """Every known upstream, and everything that a key can be allowed."""
    page = PAGE.read_text()
    assert [name for name in KINDS if not re.search(rf"\b{name}\b", page)] == []
    assert [what for what in ALLOWABLE if f"| `{what}` |" not in page] == []
