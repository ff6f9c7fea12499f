"""What pricing one call costs: ours beside ``genai_prices.calc_price``, in one process, in alternated rounds.

Run it with ``python benchmarks/pricing.py``; ``--json`` adds one JSON object as the last line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import NamedTuple

import genai_prices

from taximeter.pricing import PriceBook
from taximeter.usage import Usage

AT = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
OUR_CALLS = 20_000
THEIR_CALLS = 200


class Case(NamedTuple):
    """A call to be priced: the same for both."""

    name: str
    provider: str
    their_provider: str
    model: str
    counts: Mapping[str, int]
    context: Mapping[str, str] | None = None


TYPICAL = {"input_tokens": 12_000, "cache_read_tokens": 9_000, "output_tokens": 900, "output_reasoning_tokens": 500}
HEADLINE = [
    Case("Claude Sonnet 4.5", "anthropic", "anthropic", "claude-sonnet-4-5-20250929", TYPICAL),
    Case("Claude Opus 5", "anthropic", "anthropic", "claude-opus-5", TYPICAL),
    Case("GPT-5.6 Sol", "openai", "openai", "gpt-5.6-sol", TYPICAL),
    Case("Gemini 2.5 Flash", "google", "google", "gemini-2.5-flash", TYPICAL),
]
"""The figures of ``--json`` are the sums over these: input, cache read, output and reasoning at models in wide use."""
OTHERS = [
    Case("GPT-5", "openai", "openai", "gpt-5-2025-08-07", TYPICAL),
    Case("GPT-5, priority tier", "openai", "openai", "gpt-5-2025-08-07", TYPICAL, {"service_tier": "priority"}),
    Case("DeepSeek V4 Flash, prices by the hour", "deepseek", "deepseek", "deepseek-v4-flash", TYPICAL),
    Case(
        "Gemini 2.5 Flash, input and output",
        "google",
        "google",
        "gemini-2.5-flash",
        {"input_tokens": 1_000, "output_tokens": 10},
    ),
    Case("Sonar, a fee per call", "perplexity", "perplexity", "sonar", {"input_tokens": 1_000, "output_tokens": 10}),
]
"""The rest of the table: what is cheap for one side or dear for the other."""


class Result(NamedTuple):
    """CPU microseconds per call: the least and the median of the rounds, ours and theirs."""

    ours_min: float
    ours_median: float
    theirs_min: float
    theirs_median: float


def measure(case: Case, book: PriceBook, rounds: int) -> Result:
    """Times one case, after both sides have computed the same."""
    usage = Usage(**case.counts)
    their_usage = genai_prices.Usage(**case.counts)

    price, calc_price = book.price, genai_prices.calc_price
    provider, their_provider, model, context = case.provider, case.their_provider, case.model, case.context

    def ours() -> None:
        price(usage, provider=provider, model=model, at=AT, context=context)

    def theirs() -> None:
        calc_price(their_usage, model, provider_id=their_provider, genai_request_timestamp=AT, price_context=context)

    same(case, book)
    timings = [(timed(ours, OUR_CALLS), timed(theirs, THEIR_CALLS)) for _ in range(rounds)]
    mine, other = ([pair[side] for pair in timings] for side in (0, 1))
    return Result(min(mine), statistics.median(mine), min(other), statistics.median(other))


def same(case: Case, book: PriceBook) -> None:
    """Both sides give one exact cost."""
    cost = book.price(Usage(**case.counts), provider=case.provider, model=case.model, at=AT, context=case.context)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(**case.counts),
        case.model,
        provider_id=case.their_provider,
        genai_request_timestamp=AT,
        price_context=case.context,
    )
    assert cost.total is not None
    assert Fraction(cost.total.decimal) == Fraction(theirs.total_price), case.name


def timed(work: Callable[[], None], calls: int) -> float:
    """CPU microseconds per call."""
    start = time.process_time_ns()
    for _ in range(calls):
        work()
    return (time.process_time_ns() - start) / calls / 1_000


def load_ms() -> float:
    """CPU milliseconds to load a book whose compiled catalogue is kept."""
    start = time.process_time_ns()
    PriceBook.load()
    return (time.process_time_ns() - start) / 1_000_000


def main() -> None:
    """Runs every case and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    book = PriceBook.load()
    loads = [load_ms() for _ in range(options.rounds)]
    headline = {case.name: measure(case, book, options.rounds) for case in HEADLINE}
    others = {case.name: measure(case, book, options.rounds) for case in OTHERS}

    print(f"CPU µs per priced call, least / median of {options.rounds} alternated rounds; {book.version}")
    print(f"{'':40}{'taximeter':>16}{'genai-prices':>20}{'ratio':>8}")
    total = Result(*(sum(figures) for figures in zip(*headline.values(), strict=True)))
    mean = Result(*(figure / len(headline) for figure in total))
    for name, result in {**headline, "mean of these": mean, **others}.items():
        mine = f"{result.ours_min:.2f} / {result.ours_median:.2f}"
        other = f"{result.theirs_min:.1f} / {result.theirs_median:.1f}"
        print(f"{name:40}{mine:>16}{other:>20}{result.theirs_min / result.ours_min:>8.0f}")
    print(f"loading a book from its cache: {min(loads):.1f} ms")
    if options.json:
        figures = {
            "us_per_call": round(mean.ours_min, 3),
            "ratio_to_genai_prices": round(mean.theirs_min / mean.ours_min, 1),
            "us_per_call_median": round(mean.ours_median, 3),
            "ratio_to_genai_prices_median": round(mean.theirs_median / mean.ours_median, 1),
            "load_ms": round(min(loads), 2),
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
