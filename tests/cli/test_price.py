"""``taximeter price``: a quote, and what is said when there is none."""

from __future__ import annotations

import json
from decimal import Decimal

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
