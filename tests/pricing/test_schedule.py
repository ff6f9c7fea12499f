"""Which price is in force: days, hours over midnight, variants, and what the card says of itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest

from taximeter.event import RateCardRef
from taximeter.pricing import PriceBook
from taximeter.pricing.catalogue import DatedPrices, Days, Hours, Variant
from taximeter.usage import Usage
from tests.pricing.helpers import book_of, model, price, usd

MILLION = Usage(input_tokens=1_000_000)


def at(book: PriceBook, when: str, **context: str) -> str | None:
    """What a million input tokens cost at an instant."""
    return usd(book.price(MILLION, provider="acme", model="m", at=datetime.fromisoformat(when), context=context))


DATED = book_of(
    model(
        "m",
        DatedPrices({"input_tokens": price("9")}),
        DatedPrices({"input_tokens": price("6")}, Days(date(2026, 1, 1))),
        DatedPrices({"input_tokens": price("3")}, Days(date(2026, 7, 1))),
    )
)


@pytest.mark.parametrize(
    ("when", "expected", "since"),
    [
        ("1999-01-01T00:00:00Z", "9", None),
        ("2025-12-31T23:59:59.999999Z", "9", None),
        ("2026-01-01T00:00:00Z", "6", date(2026, 1, 1)),
        ("2026-06-30T23:59:59.999999Z", "6", date(2026, 1, 1)),
        ("2026-07-01T00:00:00Z", "3", date(2026, 7, 1)),
        ("2026-07-01T01:00:00+02:00", "6", date(2026, 1, 1)),
        ("2026-06-30T20:00:00-05:00", "3", date(2026, 7, 1)),
    ],
)
def test_a_price_starts_at_midnight_utc(when: str, expected: str, since: date | None) -> None:
    """The last microsecond of the day before has the old price, and the card says since when it applies."""
    assert at(DATED, when) == expected
    card = DATED.card("acme", "m", datetime.fromisoformat(when))
    assert card is not None
    assert card.ref == RateCardRef("genai-prices", "test", "acme", "m", since, ())


NIGHT = book_of(
    model(
        "m",
        DatedPrices({"input_tokens": price("4")}),
        DatedPrices({"input_tokens": price("1")}, Hours(time(22, 30), time(5))),
    )
)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("22:29:59.999999", "4"),
        ("22:30:00", "1"),
        ("23:59:59.999999", "1"),
        ("00:00:00", "1"),
        ("04:59:59.999999", "1"),
        ("05:00:00", "4"),
        ("12:00:00", "4"),
    ],
)
def test_hours_over_midnight(clock: str, expected: str) -> None:
    """A window from 22:30 until 05:00 holds on both sides of midnight, its start included and its end not."""
    assert at(NIGHT, f"2026-03-01T{clock}Z") == expected
    there = datetime.fromisoformat(f"2026-03-01T{clock}Z").astimezone(timezone(timedelta(hours=-9)))
    assert at(NIGHT, there.isoformat()) == expected


def test_an_empty_window_never_holds() -> None:
    """A window that ends where it starts is none: as in genai-prices."""
    book = book_of(model("m", DatedPrices({"input_tokens": price("4")}), DatedPrices({}, Hours(time(5), time(5)))))
    assert {at(book, f"2026-03-01T{hour:02}:00:00Z") for hour in range(24)} == {"4"}


def test_deepseek_by_the_hour(book: PriceBook) -> None:
    """Off peak 0.15, from 01:00 until 04:00 UTC 0.30 USD per million input tokens (since 2026-09-10)."""
    instants = [datetime(2026, 10, 1, hour, minute, tzinfo=UTC) for hour, minute in ((0, 59), (1, 0), (3, 59), (4, 0))]
    costs = [book.price(MILLION, provider="deepseek", model="deepseek-v4-flash", at=instant) for instant in instants]
    assert [usd(cost) for cost in costs] == ["0.15", "0.3", "0.3", "0.15"]


TIER = (("service_tier", "priority"),)
VARIED = book_of(
    model(
        "m",
        DatedPrices({"input_tokens": price("4"), "output_tokens": price("20")}),
        variants=(
            Variant(TIER, {"input_tokens": price("9")}, Days(date(2026, 6, 1))),
            Variant(TIER, {"input_tokens": price("8"), "output_tokens": price("40")}),
            Variant((("processing", "batch"),), {"input_tokens": price("2")}),
            Variant((("processing", "batch"), ("region", "eu")), {"output_tokens": price("11")}),
        ),
    )
)


@pytest.mark.parametrize(
    ("when", "context", "expected"),
    [
        ("2026-01-01T00:00:00Z", {}, ("4", "20")),
        ("2026-01-01T00:00:00Z", {"service_tier": "priority"}, ("8", "40")),
        ("2026-06-01T00:00:00Z", {"service_tier": "priority"}, ("9", "40")),
        ("2026-06-01T00:00:00Z", {"service_tier": "Priority"}, ("4", "20")),
        ("2026-06-01T00:00:00Z", {"processing": "batch"}, ("2", "20")),
        ("2026-06-01T00:00:00Z", {"processing": "batch", "region": "eu"}, ("2", "11")),
        ("2026-06-01T00:00:00Z", {"region": "eu"}, ("4", "20")),
        ("2026-06-01T00:00:00Z", {"processing": "batch", "service_tier": "priority", "user": "x"}, ("9", "40")),
    ],
)
def test_variants(when: str, context: dict[str, str], expected: tuple[str, str]) -> None:
    """For each unit the first variant in force whose whole context is given wins; the rest stays standard."""
    card = VARIED.card("acme", "m", datetime.fromisoformat(when), context)
    assert card is not None
    assert (str(card.rates["input_tokens"].base.usd), str(card.rates["output_tokens"].base.usd)) == expected
    assert at(VARIED, when, **context) == expected[0]


def test_the_card_names_the_context_that_chose_it() -> None:
    """Only what a variant in force asked for is named, sorted, whatever else the call says of itself."""
    context = {"user": "x", "region": "eu", "processing": "batch"}
    card = VARIED.card("acme", "m", datetime(2026, 6, 1, tzinfo=UTC), context)
    assert card is not None
    assert card.ref.context == (("processing", "batch"), ("region", "eu"))


def test_gpt_5_priority(book: PriceBook) -> None:
    """GPT-5 costs 1.25 USD per million input tokens, and 2.50 at the priority tier."""
    when = datetime(2026, 11, 1, tzinfo=UTC)
    costs = [
        book.price(MILLION, provider="openai", model="gpt-5", at=when, context=context)
        for context in (None, {"service_tier": "priority"}, {"service_tier": "priority", "x": "y"})
    ]
    assert [usd(cost) for cost in costs] == ["1.25", "2.5", "2.5"]
