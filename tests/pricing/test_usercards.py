"""Rate cards of the user's own: they win, they lapse, and a file with faults is refused with all of them named."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taximeter.errors import ConfigError
from taximeter.pricing import PriceBook
from taximeter.pricing.catalogue import Catalogue
from taximeter.pricing.files import read_rate_cards
from taximeter.pricing.usercards import parse_rate_cards
from taximeter.usage import Usage
from tests.pricing.helpers import NOW, mtok, usd

MILLION = Usage(input_tokens=1_000_000)


def book_with(catalogue: Catalogue, text: str) -> PriceBook:
    """The installed catalogue under the cards of a file."""
    return PriceBook(catalogue, parse_rate_cards(text.encode(), "cards.toml"))


def million(book: PriceBook, provider: str, model: str, day: str = "2026-11-01", **context: str) -> str | None:
    """What a million input tokens cost at noon of a day."""
    at = datetime.fromisoformat(f"{day}T12:00:00Z")
    return usd(book.price(MILLION, provider=provider, model=model, at=at, context=context))


def faults(text: str) -> list[str]:
    """What is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        parse_rate_cards(text.encode(), "cards.toml")
    return str(caught.value).splitlines()


def test_the_example_of_the_readme(catalogue: Catalogue, repository: Path) -> None:
    """The documented file is accepted and does what its comments say."""
    readme = (repository / "src/taximeter/pricing/README.md").read_text()
    example = re.search(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    book = book_with(catalogue, example[1])
    days = ["2025-12-31", "2026-01-01", "2026-06-30", "2026-07-01"]
    assert [million(book, "vllm", "Llama-3.3-70B-Instruct", day) for day in days] == [None, "0.25", "0.25", "0.2"]
    assert million(book, "vllm", "llama-3.3-70b", "2026-05-01", service_tier="priority") == "0.5"
    assert million(book, "vllm", "llama-3.3-70b", "2026-08-01", service_tier="priority") == "0.2"
    assert million(book, "ollama", "llama-3.3-70b") is None
    assert book.context_window("vllm", "llama-3.3-70b-x") == 131072
    card = book.card("vllm", "llama-3.3-70b", datetime(2026, 5, 1, tzinfo=UTC))
    assert card is not None
    usage = Usage(input_tokens=200_001, cache_read_tokens=1, output_tokens=10)
    assert card.price(usage).total == mtok("0.25", 200_000) + mtok("0.025", 1) + mtok("1.50", 10)


def test_a_card_wins_over_the_catalogue_while_it_lasts(catalogue: Catalogue) -> None:
    """Within its days one's own price applies, as a whole; outside of them the list price does."""
    book = book_with(
        catalogue,
        """
        [[card]]
        model = "gpt-4o*"
        provider = "openai"
        since = 2026-03-01
        until = 2026-04-01
        rates = { input_tokens = 1 }
        """,
    )
    days = ["2026-02-28", "2026-03-01", "2026-03-31", "2026-04-01"]
    assert [million(book, "openai", "gpt-4o-2024-08-06", day) for day in days] == ["2.5", "1", "1", "2.5"]
    assert million(book, "openai", "gpt-5", "2026-03-01") == "1.25"
    spring = datetime(2026, 3, 5, tzinfo=UTC)
    cost = book.price(Usage(output_tokens=1), provider="openai", model="gpt-4o", at=spring)
    assert (cost.total, cost.unpriced) == (None, ("output_tokens",))
    assert cost.card is not None
    assert (cost.card.source, cost.card.provider, cost.card.model, str(cost.card.since)) == (
        "user",
        "openai",
        "gpt-4o*",
        "2026-03-01",
    )


def test_the_version_is_a_digest_of_the_file(catalogue: Catalogue) -> None:
    """The same file has the same version, another one another."""
    text = '[[card]]\nmodel = "m"\nrates = { input_tokens = 1 }\n'
    cards = [book_with(catalogue, content).card("x", "m", NOW) for content in (text, text, text + "# changed\n")]
    versions = [card.ref.version for card in cards if card]
    assert versions[0] == versions[1] != versions[2]


def test_the_card_that_says_most_goes_first(catalogue: Catalogue) -> None:
    """A provider before none, a whole name before a pattern, in any order of lines."""
    cards = [
        ('model = "*"', 1),
        ('model = "m-*"', 2),
        ('model = "m-1"', 3),
        ('model = "*"\nprovider = "P"', 4),
        ('model = "m-1"\nprovider = "p"', 5),
    ]
    for ordered in (cards, cards[::-1]):
        text = "\n".join(f"[[card]]\n{keys}\nrates = {{ input_tokens = {rate} }}" for keys, rate in ordered)
        book = book_with(catalogue, text)
        names = [("q", "z"), ("q", "m-2"), ("q", "M-1"), ("p", "z"), ("P", "m-1")]
        assert [million(book, provider, model) for provider, model in names] == ["1", "2", "3", "4", "5"]


def test_a_provider_by_either_name(catalogue: Catalogue) -> None:
    """A card for the catalogue's ``x-ai`` holds for the wire's ``xai``, and a card for ``xai`` for ``xai``."""
    for name in ("x-ai", "xai"):
        book = book_with(catalogue, f'[[card]]\nmodel = "grok-4"\nprovider = "{name}"\nrates = {{ input_tokens = 7 }}')
        assert million(book, "xai", "grok-4") == "7"


@pytest.mark.parametrize("rate", ['"0.1"', "0.1", '".1"', '"0.10"', "1e-1"])
def test_rates_are_read_digit_by_digit(catalogue: Catalogue, rate: str) -> None:
    """A tenth is a tenth however it is written, and no binary fraction near it."""
    book = book_with(catalogue, f'[[card]]\nmodel = "m"\nrates = {{ input_tokens = {rate} }}')
    usage = Usage(input_tokens=10**18)
    cost = book.price(usage, provider="x", model="m", at=NOW)
    assert cost.total == mtok("0.1", 10**18)


FAULTY = [
    ('model = "m"', 'card[1].rates: is a table with at least one rate, such as { input_tokens = "0.25" }'),
    ('model = "m"\nrates = {}', "card[1].rates: is a table with at least one rate"),
    ("rates = { input_tokens = 1 }", "card[1].model: is missing: a name"),
    ("model = 5\nrates = { input_tokens = 1 }", "card[1].model: is a name in quotes, not 5"),
    ('model = ""\nrates = { input_tokens = 1 }', "card[1].model: is a name in quotes, not ''"),
    (
        'model = "m"\nprice = 1\nrates = { input_tokens = 1 }',
        "card[1].price: is not known here; known are model, provider,",
    ),
    ('model = "m"\nrates = { input = 1 }', "card[1].rates.input: is no unit; the units are input_tokens,"),
    (
        'model = "m"\nrates = { input_tokens = "1 USD" }',
        "card[1].rates.input_tokens: is an amount of US dollars, such as \"0.25\" or 0.25, not '1 USD'",
    ),
    ('model = "m"\nrates = { input_tokens = -1 }', "card[1].rates.input_tokens: is an amount"),
    ('model = "m"\nrates = { input_tokens = nan }', "card[1].rates.input_tokens: is an amount"),
    ('model = "m"\nrates = { input_tokens = inf }', "card[1].rates.input_tokens: is an amount"),
    ('model = "m"\nrates = { input_tokens = 1e999999 }', "card[1].rates.input_tokens: is an amount"),
    ('model = "m"\nrates = { input_tokens = true }', "card[1].rates.input_tokens: is an amount"),
    ('model = "m"\nrates = { input_tokens = { tiers = [] } }', "card[1].rates.input_tokens.usd: is missing: an amount"),
    (
        'model = "m"\nrates = { input_tokens = { usd = 1, above = 2 } }',
        "card[1].rates.input_tokens.above: is not known here; known are usd, tiers",
    ),
    (
        'model = "m"\nrates = { input_tokens = { usd = 1, tiers = [{ above = "x", usd = 2 }] } }',
        "card[1].rates.input_tokens.tiers[1].above: is a number of input tokens",
    ),
    (
        'model = "m"\nrates = { input_tokens = { usd = 1, tiers = [{ above = 9, usd = 2 }, { above = 9, usd = 3 }] } }',
        "card[1].rates.input_tokens.tiers: must have rising values of above",
    ),
    (
        'model = "m"\nsince = "2026-01-01"\nrates = { input_tokens = 1 }',
        "card[1].since: is a day without quotes, such as 2026-01-31, not '2026-01-01'",
    ),
    (
        'model = "m"\nsince = 2026-01-01T00:00:00Z\nrates = { input_tokens = 1 }',
        "card[1].since: is a day without quotes",
    ),
    (
        'model = "m"\nsince = 2026-02-01\nuntil = 2026-02-01\nrates = { input_tokens = 1 }',
        "card[1].until: is the first day without the card: later than since (2026-02-01)",
    ),
    ('model = "m"\ncontext_window = 0\nrates = { input_tokens = 1 }', "card[1].context_window: is a number of tokens"),
    (
        'model = "m"\nrates = { input_tokens = 1 }\n[[card.variant]]\nrates = { input_tokens = 1 }',
        "card[1].variant[1].when: is a table of words",
    ),
    (
        'model = "m"\nrates = { input_tokens = 1 }\n[[card.variant]]\nwhen = { a = 1 }\nrates = { input_tokens = 1 }',
        "card[1].variant[1].when: is a table of words",
    ),
    ('model = "m"\nrates = { input_tokens = 1 }\nvariant = 5', "card[1].variant: is a list of tables"),
    ('model = "m"\nrates = { input_tokens = 1 }\nvariant = [5]', "card[1].variant[1]: is a table, not 5"),
]


@pytest.mark.parametrize(("card", "fault"), FAULTY)
def test_a_fault_is_named_with_its_place(card: str, fault: str) -> None:
    """File, table, key, and what would be accepted."""
    found = faults(f"[[card]]\n{card}\n")
    assert len(found) == 1
    assert found[0].startswith(f"cards.toml: {fault}")


def test_every_fault_is_named_at_once() -> None:
    """One bad card refuses the file, so that none is lost in silence, and all faults are listed together."""
    found = faults(
        """
        [[card]]
        model = "good"
        rates = { input_tokens = 1 }
        [[card]]
        rates = { input_tokens = "x", nothing = 1 }
        [[cards]]
        """
    )
    assert [line.split(": ")[1] for line in found] == [
        "the file.cards",
        "card[2].model",
        "card[2].rates.nothing",
        "card[2].rates.input_tokens",
    ]


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("", "", True),
        ("since = 2026-01-01", "until = 2026-01-01", False),
        ("since = 2026-01-01", "until = 2026-01-02", True),
        ("until = 2026-05-01", "since = 2026-05-01\nuntil = 2026-06-01", False),
        ("since = 2026-01-01\nuntil = 2026-03-01", "since = 2026-02-28", True),
        ('provider = "a"', 'provider = "b"', False),
        ('provider = "a"', 'provider = "A"', True),
    ],
)
def test_cards_of_one_model_do_not_overlap(first: str, second: str, *, overlap: bool) -> None:
    """Two cards for one provider, model and day contradict each other; a day that only one of them has does not."""
    text = "\n".join(f'[[card]]\nmodel = "m"\n{keys}\nrates = {{ input_tokens = 1 }}' for keys in (first, second))
    if overlap:
        assert faults(text) == ["cards.toml: card[2]: is for the same model and days as card[1]: end one with until"]
    else:
        assert len(parse_rate_cards(text.encode(), "cards.toml").entries) in (1, 2)


@pytest.mark.parametrize("content", [b"[[card]\n", b"\xff\xfe", b"model = ", b"a = 1\na = 2"])
def test_no_toml(content: bytes) -> None:
    """What is no TOML is refused as such."""
    with pytest.raises(ConfigError, match=r"^cards\.toml: not a TOML file: "):
        parse_rate_cards(content, "cards.toml")


def test_an_empty_file_is_a_fault() -> None:
    """A file without cards is more likely a mistake than a wish."""
    assert faults("# nothing\n") == ["cards.toml: the file: has no [[card]]"]


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, else TAXIMETER_RATE_CARDS, else the folder of settings; only the last may be missing."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert read_rate_cards() is None
    home = tmp_path / "taximeter" / "rate-cards.toml"
    home.parent.mkdir()
    for number, path in enumerate((home, tmp_path / "env.toml", tmp_path / "arg.toml"), 1):
        path.write_text(f'[[card]]\nmodel = "m{number}"\nrates = {{ input_tokens = 1 }}')

    def models(path: Path | None = None) -> list[str]:
        cards = read_rate_cards(path)
        return [entry.model.id for entry in cards.entries] if cards else []

    assert models() == ["m1"]
    monkeypatch.setenv("TAXIMETER_RATE_CARDS", str(tmp_path / "env.toml"))
    assert models() == ["m2"]
    assert models(tmp_path / "arg.toml") == ["m3"]
    monkeypatch.setenv("TAXIMETER_RATE_CARDS", str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigError, match=r"missing\.toml: the rate cards cannot be read: "):
        models()


def test_a_book_loads_both(tmp_path: Path) -> None:
    """``PriceBook.load`` reads the installed data and the given file."""
    path = tmp_path / "cards.toml"
    path.write_text('[[card]]\nmodel = "mine"\nrates = { input_tokens = "0.5" }')
    book = PriceBook.load(path)
    assert million(book, "vllm", "mine") == "0.5"
    assert million(book, "openai", "gpt-5") == "1.25"
    assert book.suggest("vllm", "mime") == ("mine",)
