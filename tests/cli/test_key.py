"""``taximeter key``: keys made, shown once, listed, revoked, rotated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taximeter.cli.key import key as command
from taximeter.errors import ConfigError, StoreError
from taximeter.gateway.keys import hash_key, is_plausible
from taximeter.gateway.secrets import key_secret
from taximeter.store.keys import KeyStore

Keys = Callable[..., Result]


@pytest.fixture
def keys(store_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Keys:
    """Runs ``taximeter key …`` on a store of the test's own."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Result:
        return CliRunner(env={"TAXIMETER_STORE": store_url, "COLUMNS": "200"}).invoke(command, list(words))

    return call


def _json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_key_is_shown_once_and_alone(keys: Keys, store_url: str) -> None:
    """Standard output is the key; the store has its hash, and no list ever shows it."""
    made = keys("create", "shop", "--project", "shop", "--tag", "team=web", "--model", "gpt-5*", "--days", "30")
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert is_plausible(key)
    assert key not in made.stderr
    assert "not shown again" in made.stderr
    with KeyStore(store_url) as store:
        record = store.find("shop")
        assert record.hash == hash_key(key_secret(store.path, {}), key)
    assert (record.grants.project, record.grants.tags, record.grants.models) == (
        "shop",
        (("team", "web"),),
        ("gpt-5*",),
    )
    for listed in (keys("list"), keys("list", "--json"), keys("list", "--all")):
        assert listed.exit_code == 0
        assert "shop" in listed.stdout
        assert key not in listed.stdout
        assert record.hash not in listed.stdout


def test_keys_speak_json(keys: Keys) -> None:
    """What was made, with the key; what is listed, without."""
    made = _json(keys("create", "a", "--json", "--allow", "files", "--provider", "groq", "--no-cost-in-usage"))
    assert is_plausible(made["key"])
    assert (made["allow"], made["providers"], made["cost_in_usage"], made["state"]) == (
        ["files"],
        ["groq"],
        False,
        "active",
    )
    (listed,) = [json.loads(line) for line in keys("list", "--json").stdout.splitlines()]
    assert listed == {name: value for name, value in made.items() if name != "key"}


def test_a_key_is_rotated_and_revoked(keys: Keys) -> None:
    """By name or id; the new one is shown, the old one is taken for a day, and a revoked one is listed with --all."""
    first = _json(keys("create", "a", "--json"))
    second = _json(keys("rotate", first["id"], "--json"))
    assert second["key"] != first["key"]
    assert second["id"] == first["id"]
    assert "old_until" in second
    assert "old_until" not in _json(keys("rotate", "a", "--grace", "0s", "--json"))
    assert keys("revoke", "a").stdout == f"a ({first['id']}) is revoked\n"
    assert keys("list", "--json").stdout == ""
    assert _json(keys("list", "--all", "--json"))["state"] == "revoked"
    assert isinstance(keys("rotate", "a").exception, StoreError)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", " a"), "a name is up to 64 characters"),
        (("create", "a\nb"), "a name is up to 64 characters"),
        (("create", "a", "--allow", "batch"), "there is no 'batch'; did you mean batches?"),
        (("create", "a", "--provider", "opnai"), "there is no 'opnai'; did you mean openai?"),
        (("create", "a", "--tag", "x"), "'x' is not NAME=VALUE"),
        (("create", "a", "--expires", "2020-01-01"), "2020-01-01 is over already"),
        (("create", "a", "--expires", "soon"), "'soon' is no date or time"),
        (("create", "a", "--expires", "2100-01-01", "--days", "3"), "not both"),
        (("rotate", "a", "--grace", "a while"), "'a while' is no duration"),
    ],
)
def test_what_cannot_be_is_wrong_usage(keys: Keys, words: tuple[str, ...], says: str) -> None:
    """Exit code 2, and what would be right."""
    result = keys(*words)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def test_the_configurations_upstreams_and_secrets_hold(keys: Keys, tmp_path: Path, store_url: str) -> None:
    """A key can be bound to an upstream of one's own, and is hashed with the secret that the gateway will have."""
    secrets = tmp_path / "secrets"
    secrets.write_text("TAXIMETER_KEY_SECRET=from-the-secrets-file\n")
    secrets.chmod(0o600)
    config = f'[gateway]\nsecrets_file = "{secrets}"\n[upstreams.llm]\nbase_url = "http://gpu:8000"\n'
    (tmp_path / "taximeter.toml").write_text(config)
    made = keys("create", "a", "--provider", "llm").stdout.strip()
    with KeyStore(store_url) as store:
        assert store.find("a").hash == hash_key(b"from-the-secrets-file", made)
    secrets.chmod(0o644)
    assert isinstance(keys("rotate", "a").exception, ConfigError)
