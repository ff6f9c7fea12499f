"""What the gateway is told, and how it says that it was told nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from taximeter.errors import ConfigError
from taximeter.gateway.config import load


def _file(folder: Path, text: str) -> Path:
    path = folder / "taximeter.toml"
    path.write_text(text)
    return path


def test_a_file_is_read_and_the_environment_and_words_win(tmp_path: Path) -> None:
    """The command line wins over the environment, that over the file, and that over the defaults."""
    path = _file(
        tmp_path,
        "[gateway]\nport = 1\nworkers = 2\ncost_in_usage = false\nidle_s = 5\n"
        '[upstreams.llm]\nbase_url = "http://gpu:8000/v1"\n[defaults]\nopenai = "llm"\n',
    )
    environment = {"TAXIMETER_GATEWAY_PORT": "2", "TAXIMETER_GATEWAY_WORKERS": "3"}
    found = load(path, environment | {"TAXIMETER_GATEWAY_ALLOWED_HOSTS": "a.example, b.example:1"}, port=4, host=None)
    assert (found.gateway.port, found.gateway.workers, found.gateway.cost_in_usage) == (4, 3, False)
    assert (found.gateway.host, found.gateway.idle_s) == ("127.0.0.1", 5)
    assert found.gateway.allowed_hosts == ("a.example", "b.example:1")
    assert found.upstreams["llm"].base_url == "http://gpu:8000/v1"
    assert (found.defaults.openai, found.defaults.gemini) == ("llm", "gemini")


def test_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the setting names, else the one in the working folder, else none."""
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).path is None
    _file(tmp_path, "[gateway]\nport = 7\n")
    assert load(None, {}).gateway.port == 7
    other = tmp_path / "other.toml"
    other.write_text("[gateway]\nport = 8\n")
    assert load(None, {"TAXIMETER_CONFIG": str(other)}).gateway.port == 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[gateway]\nprot = 1\n", r"taximeter.toml: \[gateway\]: there is no prot; did you mean port\?"),
        ("[gatway]\n", r"there is no gatway; did you mean gateway\?"),
        ("[gateway]\nport = 70000\n", r"\[gateway\]: port: Expected `int` <= 65535"),
        ('[gateway]\nport = "8080"\n', r"\[gateway\]: port: Expected `int`, got `str`"),
        ("[gateway]\nidle_s = 0\n", r"idle_s: Expected `float` > 0"),
        ('[gateway]\nauth = "keyz"\n', r"auth: one of 'keys', 'passthrough', 'none' is wanted, not 'keyz'"),
        ("gateway = 1\n", "gateway is to be a table"),
        ("[gateway\n", "is no TOML"),
        ('[upstreams.x]\nbase = "http://x"\n', r"\[upstreams.x\]: there is no base; did you mean base_url\?"),
        ('[upstreams.x]\napi_key = "sk-1"\n', r"api_key: no secret belongs in this file"),
        ('[upstreams.x]\nheaders = { Authorization = "Bearer x" }\n', "Authorization is a credential"),
        ('[upstreams.x]\nheaders = { Host = "x" }\n', "Host is the gateway's own to set"),
        ('[upstreams.x]\nheaders = { a = "b\\r\\nc: d" }\n', "is no header that can be sent"),
        ('[upstreams.v1]\nbase_url = "http://x"\n', "cannot be called 'v1'"),
        ('[upstreams."a/b"]\nbase_url = "http://x"\n', "cannot be called 'a/b'"),
        ('[defaults]\nopenia = "x"\n', r"there is no openia; did you mean openai\?"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, says: str) -> None:
    """The error names the file, the section, the key and what would be accepted."""
    with pytest.raises(ConfigError, match=says):
        load(_file(tmp_path, text), {})


def test_a_secret_in_the_file_is_not_repeated(tmp_path: Path) -> None:
    """The error about an inline key does not hold the key."""
    with pytest.raises(ConfigError) as caught:
        load(_file(tmp_path, '[upstreams.openai]\nkey = "sk-very-secret"\n'), {})
    assert "sk-very-secret" not in str(caught.value)


def test_the_environment_is_checked(tmp_path: Path) -> None:
    """A variable of ours that means nothing is an error; what Kubernetes sets of a service of our name is none."""
    with pytest.raises(ConfigError, match="there is no prot; did you mean port"):
        load(_file(tmp_path, ""), {"TAXIMETER_GATEWAY_PROT": "1"})
    link = {
        "TAXIMETER_GATEWAY_PORT": "tcp://10.0.0.1:8080",
        "TAXIMETER_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "TAXIMETER_GATEWAY_SERVICE_PORT": "8080",
        "TAXIMETER_GATEWAY_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    assert load(_file(tmp_path, ""), link).gateway.port == 8080


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A configuration that was named and cannot be read does not start a gateway without it."""
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read: No such file"):
        load(tmp_path / "nowhere.toml", {})
