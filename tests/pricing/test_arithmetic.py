"""Real models, with the arithmetic of their published prices written out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from taximeter.event import LineItem, Rate, RateCardRef
from taximeter.money import Money
from taximeter.pricing import PriceBook
from taximeter.usage import Usage
from tests.pricing.helpers import mtok

AT = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)


def test_claude_sonnet_with_cache(book: PriceBook) -> None:
    """Claude Sonnet 4.5: 3 in, 15 out, 0.30 cache read, 3.75 and 6 cache write for five minutes and for an hour."""
    usage = Usage(
        input_tokens=10_000,
        cache_read_tokens=6_000,
        cache_write_tokens=3_000,
        cache_write_5m_tokens=2_000,
        cache_write_1h_tokens=1_000,
        output_tokens=500,
    )
    cost = book.price(usage, provider="anthropic", model="claude-sonnet-4-5-20250929", at=AT)
    assert cost.total == mtok("3", 1_000) + mtok("0.30", 6_000) + mtok("3.75", 2_000) + mtok("6", 1_000) + mtok(
        "15", 500
    )


def test_claude_sonnet_above_200k(book: PriceBook) -> None:
    """Above 200,000 input tokens, cached ones included, Claude Sonnet 4.5 costs 6 in, 22.50 out, 0.60 cache read."""
    usage = Usage(input_tokens=200_001, cache_read_tokens=200_000, output_tokens=10)
    cost = book.price(usage, provider="anthropic", model="claude-sonnet-4-5-20250929", at=AT)
    assert cost.total == mtok("6", 1) + mtok("0.60", 200_000) + mtok("22.5", 10)


def test_gpt_4o_with_a_web_search(book: PriceBook) -> None:
    """GPT-4o: 2.50 in, 1.25 cached, 10 out, and 10 USD per 1,000 web searches."""
    usage = Usage(input_tokens=1_200, cache_read_tokens=1_024, output_tokens=30, web_searches=2)
    cost = book.price(usage, provider="openai", model="gpt-4o-2024-08-06", at=AT)
    assert cost.total == mtok("2.5", 176) + mtok("1.25", 1_024) + mtok("10", 30) + Money.usd("0.02")


def test_reasoning_is_output(book: PriceBook) -> None:
    """GPT-5 bills reasoning at the rate of output, on a line of its own that says so."""
    cost = book.price(Usage(output_tokens=100, output_reasoning_tokens=40), provider="openai", model="gpt-5", at=AT)
    rate = Rate(Decimal(10), 1_000_000)
    assert cost.items == (
        LineItem("output_tokens", 60, rate, "output_tokens", mtok("10", 60)),
        LineItem("output_reasoning_tokens", 40, rate, "output_tokens", mtok("10", 40)),
    )


def test_gemini_flash_with_audio(book: PriceBook) -> None:
    """Gemini 2.5 Flash: 0.30 in, 1 for audio, 0.03 cached, 2.50 out."""
    usage = Usage(input_tokens=900, input_audio_tokens=400, cache_read_tokens=100, output_tokens=20)
    cost = book.price(usage, provider="google", model="gemini-2.5-flash", at=AT)
    assert cost.total == mtok("0.30", 400) + mtok("1", 400) + mtok("0.03", 100) + mtok("2.5", 20)


def test_perplexity_charges_per_call(book: PriceBook) -> None:
    """Sonar: 1 in, 1 out, and 12 USD per 1,000 calls: the dearest search context, as the data has it."""
    cost = book.price(Usage(input_tokens=20, output_tokens=30), provider="perplexity", model="sonar", at=AT)
    assert cost.total == mtok("1", 20) + mtok("1", 30) + Money.usd("0.012")


def test_bedrock_by_region(book: PriceBook) -> None:
    """The same Claude costs a tenth more in a region (3.30 in) than anywhere (3 in)."""
    name = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    million = Usage(input_tokens=1_000_000)
    costs = {
        prefix: book.price(million, provider="bedrock", model=prefix + name, at=AT).total
        for prefix in ("us.", "eu.", "", "global.")
    }
    assert costs == {"us.": Money.usd("3.3"), "eu.": Money.usd("3.3"), "": Money.usd("3.3"), "global.": Money.usd("3")}


def test_a_price_that_changed(book: PriceBook) -> None:
    """DeepSeek V4 Flash cost 0.14 per million input tokens until 2026-08-16, and 0.22 from the 17th."""
    million = Usage(input_tokens=1_000_000)
    days = [datetime(2026, 8, 16, 23, 59, 59, tzinfo=UTC), datetime(2026, 8, 17, tzinfo=UTC)]
    cards = [book.card("deepseek", "deepseek-v4-flash", day) for day in days]
    assert [card.price(million).total for card in cards if card] == [Money.usd("0.14"), Money.usd("0.22")]
    assert [card.ref.since for card in cards if card] == [None, date(2026, 8, 17)]


def test_the_card_is_named(book: PriceBook) -> None:
    """A cost says which card of which data it was made by."""
    context = {"service_tier": "flex"}
    cost = book.price(Usage(input_tokens=1), provider="openai", model="gpt-5.6-sol", at=AT, context=context)
    version = book.version.removeprefix("genai-prices ")
    assert cost.card == RateCardRef(
        "genai-prices", version, "openai", "gpt-5.6-sol", date(2026, 10, 12), (("service_tier", "flex"),)
    )


def test_moderation_is_free(book: PriceBook) -> None:
    """OpenAI's moderation has no price and says that it is free of charge; an included model says no such thing."""
    usage = Usage(input_tokens=100)
    assert book.price(usage, provider="openai", model="omni-moderation-latest", at=AT).total == Money(0)
    assert book.price(usage, provider="openrouter", model="qwen/qwen3-coder:free", at=AT).total == Money(0)
    assert book.price(usage, provider="cerebras", model="qwen-3-coder-480b", at=AT).total is None
    assert book.price(usage, provider="github_copilot", model="gpt-4o", at=AT).total is None
