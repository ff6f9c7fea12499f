"""``taximeter price``: a quote, and what is said when there is none."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_a_quote_line_by_line(run: Run) -> None:
    """GPT-5 mini: 120,000 in at 0.25 and 3,000 out at 2 USD per million."""
    quote = json.loads(run("price", "gpt-5-mini", "--input", "120_000", "--output", "3,000", "--json").stdout)
    assert [(item["unit"], item["count"], item["amount_usd"]) for item in quote["line_items"]] == [
        ("input_tokens", 120_000, "0.03"),
        ("output_tokens", 3_000, "0.006"),
    ]
    assert Decimal(quote["cost_usd"]) == Decimal(120_000 * 25) / 100_000_000 + Decimal(3_000 * 2) / 1_000_000
    assert quote["rate_card"]["provider"] == "openai"
    assert quote["rate_card"]["source"] == "genai-prices"


def test_cached_tokens_are_part_of_the_input(run: Run) -> None:
    """Of 50,000 that go in, 40,000 come from the cache: 10,000 at 3 and 40,000 at 0.30 USD per million."""
    arguments = ["price", "claude-sonnet-4-5", "--provider", "anthropic", "--input", "50000", "--cache-read", "40000"]
    assert json.loads(run(*arguments, "--json").stdout)["cost_usd"] == "0.042"
    out = run(*arguments).stdout
    assert "0.042" in out
    assert "Rate card: anthropic/claude-sonnet-4-5" in out


def test_any_unit_is_an_option(run: Run) -> None:
    """Units beside the usual ones are options too, durations as decimals."""
    arguments = ["price", "whisper-large-v3", "--provider", "groq", "--input-audio-seconds", "90.5", "--json"]
    assert json.loads(run(*arguments).stdout)["usage"] == {"input_audio_seconds": 90.5}


def test_an_unknown_model_suggests_near_names(run: Run) -> None:
    """Exit code 1, and the names that may have been meant, on standard error."""
    result = run("price", "gtp-5-mini", "--input", "5")
    assert result.exit_code == 1
    assert "taximeter: gtp-5-mini is in no price book; near names: gpt-5-mini" in result.stderr


def test_impossible_counts_are_explained(run: Run) -> None:
    """More cached than went in cannot be; a count that is no number is wrong usage; so is no count at all."""
    assert (
        "cache_read_tokens (6) cannot be in input_tokens (5)"
        in run("price", "gpt-5-mini", "--input", "5", "--cache-read", "6").stderr
    )
    assert run("price", "gpt-5-mini", "--input", "many").exit_code == 2
    assert run("price", "gpt-5-mini").exit_code == 2


def test_the_price_context_chooses_the_rates(run: Run) -> None:
    """GPT-5.4 under the priority tier costs twice the standard rates: 5 for 2.50 USD per million in."""
    arguments = ["price", "gpt-5.4", "--provider", "openai", "--input", "100000", "--at", "2026-11-02", "--json"]
    standard = json.loads(run(*arguments).stdout)
    priority = json.loads(run(*arguments, "--context", "service_tier=priority").stdout)
    assert Decimal(priority["cost_usd"]) == 2 * Decimal(standard["cost_usd"])
    assert priority["rate_card"]["context"] == {"service_tier": "priority"}
    assert run(*arguments, "--context", "priority").exit_code == 2


def test_own_rate_cards_win(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate card of the user's prices what no catalogue knows, and the quote says where the price is from."""
    cards = tmp_path / "cards.toml"
    cards.write_text('[[card]]\nmodel = "our-own-7b"\nrates = { input_tokens = "0.10", output_tokens = "0.40" }\n')
    monkeypatch.setenv("TAXIMETER_RATE_CARDS", str(cards))
    quote = json.loads(run("price", "our-own-7b", "--input", "1000", "--output", "10", "--json").stdout)
    assert Decimal(quote["cost_usd"]) == (1000 * Decimal("0.10") + 10 * Decimal("0.40")) / 1_000_000
    assert quote["rate_card"]["source"] == "user"


def test_a_broken_rate_card_file_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices that cannot be read stop the quote, and are what `doctor` finds."""
    cards = tmp_path / "cards.toml"
    cards.write_text("this is no TOML")
    monkeypatch.setenv("TAXIMETER_RATE_CARDS", str(cards))
    quote = run("price", "gpt-5-mini", "--input", "1")
    assert quote.exit_code == 1
    assert str(cards) in quote.stderr
    found = run("doctor")
    assert found.exit_code == 1
    assert str(cards) in found.stderr
