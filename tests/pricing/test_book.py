"""The book: whose model is meant, what is said of those that it does not know, and that nothing in it is a float."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest

from taximeter.pricing import PriceBook
from taximeter.pricing.card import CompiledCard
from taximeter.pricing.catalogue import Catalogue, DatedPrices
from taximeter.pricing.offers import Offer, Timeline
from taximeter.pricing.schedule import Schedule
from taximeter.usage import Usage
from tests.pricing.helpers import NOW, book_of, model, price

LISTED = [
    ("openai", "gpt-4o-2024-08-06", "openai", "gpt-4o"),
    ("azure", "gpt-35-turbo", "openai", "gpt-3.5-turbo"),
    ("azure", "grok-4-1-fast-non-reasoning", "x-ai", "grok-4-1-fast-non-reasoning"),
    ("anthropic", "claude-haiku-4-5-20251001", "anthropic", "claude-haiku-4-5"),
    ("google", "models/gemini-2.5-flash", "google", "gemini-2.5-flash"),
    ("vertex", "gemini-2.5-pro", "google", "gemini-2.5-pro"),
    ("vertex", "claude-sonnet-4-5@20250929", "google", "claude-sonnet-4-5"),
    ("vertex", "publishers/anthropic/models/claude-sonnet-4-5", "google", "claude-sonnet-4-5"),
    (
        "bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "aws",
        "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    (
        "bedrock",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "aws",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    (
        "bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
        "aws",
        "amazon.nova-lite-v1:0",
    ),
    ("bedrock", "claude-3-haiku-20240307", "aws", "regional.anthropic.claude-3-haiku-20240307-v1:0"),
    ("bedrock", "openai.gpt-oss-120b", "aws", "openai.gpt-oss-120b-1:0"),
    ("bedrock", "openai.gpt-oss-120b-1:0", "aws", "openai.gpt-oss-120b-1:0"),
    ("bedrock", "openai.gpt-5.5", "aws", "openai.gpt-5.5"),
    ("groq", "openai/gpt-oss-20b", "groq", "openai/gpt-oss-20b"),
    ("cerebras", "gpt-oss-120b", "cerebras", "gpt-oss-120b"),
    ("mistral", "mistral-small-2506", "mistral", "mistral-small-3.2-24b-instruct"),
    ("deepseek", "deepseek-chat", "deepseek", "deepseek-chat"),
    ("xai", "grok-4-fast-reasoning", "x-ai", "grok-4-fast-reasoning"),
    ("x-ai", "grok-3-mini", "x-ai", "grok-3-mini"),
    ("openrouter", "openai/gpt-4o-mini-2024-07-18", "openrouter", "openai/gpt-4o-mini"),
    ("openrouter", "anthropic/claude-haiku-4.5:nitro", "openrouter", "anthropic/claude-haiku-4.5"),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ("cohere", "command-r-plus", "cohere", "command-r-plus"),
    ("perplexity", "sonar", "perplexity", "sonar"),
    ("voyage", "voyage-3.5", "voyageai", "voyage-3.5"),
    ("zai", "glm-4.7", "zai", "GLM-4.7"),
    ("moonshot", "kimi-k2-0905-preview", "moonshotai", "kimi-k2-0905-preview"),
    ("github_copilot", "gpt-5.3-codex", "github-copilot", "gpt-5.3-codex"),
    ("cloudflare", "@cf/openai/gpt-oss-120b", "cloudflare", "@cf/openai/gpt-oss-120b"),
    ("cloudflare", "openai/gpt-5", "openai", "gpt-5"),
    ("avian", "moonshotai/kimi-k2.5", "avian", "moonshotai/kimi-k2.5"),
    ("doubleword", "Qwen/Qwen3.5-9B", "doubleword", "Qwen/Qwen3.5-9B"),
    ("huggingface_together", "deepseek-ai/DeepSeek-R1", "huggingface_together", "deepseek-ai/DeepSeek-R1"),
    ("huggingface", "deepseek-ai/DeepSeek-R1:together", "huggingface_together", "deepseek-ai/DeepSeek-R1"),
    ("vercel", "anthropic/claude-sonnet-4.5", "anthropic", "claude-sonnet-4-5"),
    ("vercel", "xai/grok-4", "x-ai", "grok-4-0709"),
    ("vercel", "amazon/nova-lite", "aws", "amazon.nova-lite-v1:0"),
    ("litellm", "gpt-4o", "openai", "gpt-4o"),
    ("litellm", "openrouter/openai/gpt-5", "openrouter", "openai/gpt-5"),
    ("litellm", "bedrock/us.amazon.nova-lite-v1:0", "aws", "amazon.nova-lite-v1:0"),
    ("portkey", "@openai/gpt-4o-mini-2024-07-18", "openai", "gpt-4o-mini"),
    ("OpenAI", "GPT-4o", "openai", "gpt-4o"),
]


@pytest.mark.parametrize(("provider", "name", "listed_at", "listed_as"), LISTED)
def test_names_as_the_wire_has_them(book: PriceBook, provider: str, name: str, listed_at: str, listed_as: str) -> None:
    """A provider and a model as they are called on the wire find the entry that they are priced by."""
    card = book.card(provider, name, NOW)
    assert card is not None
    assert (card.ref.provider, card.ref.model) == (listed_at, listed_as)
    assert card.rates


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("ollama", "llama3.1"),
        ("vllm", "openai/gpt-oss-20b"),
        ("llamacpp", "/models/Qwen3-1.7B-Q4_K_M.gguf"),
        ("localhost:8080", "deepseek-chat"),
        ("llm.example.com", "gpt-4o"),
        ("litellm", "ollama/llama3.1"),
        ("huggingface", "deepseek-ai/DeepSeek-R1"),
        ("snowflake", "claude-sonnet-4-6"),
        ("chatgpt", "gpt-5.4"),
        ("venice", "qwen3-5-9b"),
        ("vercel", "meta/llama-3.3-70b"),
        ("bedrock", "us.does-not-exist-model-v1:0"),
        ("openai", ""),
        ("", "gpt-4o"),
    ],
)
def test_what_has_no_list_price_has_no_price(book: PriceBook, provider: str, name: str) -> None:
    """A host of one's own, a subscription, a model that nobody lists: no card, no total, and no guess."""
    assert book.card(provider, name, NOW) is None
    cost = book.price(Usage(input_tokens=1), provider=provider, model=name, at=NOW)
    assert (cost.total, cost.items, cost.card) == (None, (), None)
    assert (cost.reason or "").startswith(f"{name} of {provider} is in no price book")


def test_an_unknown_model_is_told_its_neighbours(book: PriceBook) -> None:
    """The reason names the nearest models that the provider does have."""
    cost = book.price(Usage(input_tokens=1), provider="openai", model="gpt-5.2-proo", at=NOW)
    near = ", ".join(book.suggest("openai", "gpt-5.2-proo"))
    assert book.suggest("openai", "gpt-5.2-proo")[0] == "gpt-5.2-pro"
    assert cost.reason == f"gpt-5.2-proo of openai is in no price book; near names: {near}"
    assert len(book.suggest("openai", "gpt-5.2-proo", limit=1)) == 1
    assert book.suggest("ollama", "gpt-4o-minni")[0].endswith("gpt-4o-mini")
    assert book.suggest("openai", "zzzzzzzz") == ()


def test_context_window(book: PriceBook) -> None:
    """A model's window is known where the data has it, and is ``None`` for what it does not know."""
    assert book.context_window("openai", "gpt-4o") == 128_000
    assert book.context_window("openai", "nonexistent") is None


def test_version_and_age(book: PriceBook) -> None:
    """The book names its data, and a day on which the data says that a price was checked."""
    assert book.version.startswith("genai-prices ")
    assert book.data_date is not None
    assert book.data_date >= dt.date(2026, 10, 9)


def test_any_number_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from the network: the book forgets them again, and prices on."""
    monkeypatch.setattr("taximeter.pricing.book._MOST_OFFERS", 8)
    monkeypatch.setattr("taximeter.pricing.book._MOST_KNOWN", 8)
    book = book_of(model("m", DatedPrices({"input_tokens": price("3")})))
    for number in range(100):
        book.price(Usage(input_tokens=1), provider="acme", model=f"m{number}", at=NOW)
        context = {"service_tier": f"tier {number}"}
        assert book.price(Usage(input_tokens=1), provider="acme", model="m", at=NOW, context=context).total is not None
    assert len(book._offers) <= 8
    assert len(book._programs) <= 8


def test_any_number_of_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card forgets how to price a set of units when it has met too many."""
    monkeypatch.setattr("taximeter.pricing.card._MOST_PLANS", 2)
    card = book_of(model("m", DatedPrices({"input_tokens": price("3")}))).card("acme", "m", NOW)
    assert card is not None
    compiled = CompiledCard(card)
    for units in (["input_tokens"], ["cache_read_tokens"], ["cache_write_tokens"], ["input_tokens"]):
        assert compiled.price(Usage(**dict.fromkeys(units, 1))).total is not None
        assert len(compiled._plans) <= 2


def test_threads_share_a_book(catalogue: Catalogue) -> None:
    """Sixteen threads that begin at once on an empty book get what one gets."""
    book, names = PriceBook(catalogue), ["gpt-4o", "gpt-5", "gpt-5.6-sol", "o3", "nonexistent"] * 20
    usage = Usage(input_tokens=1_000, cache_read_tokens=10, output_tokens=3)

    def cost(name: str) -> object:
        return book.price(usage, provider="openai", model=name, at=NOW)

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(cost, names))
    assert together == [cost(name) for name in names]


def values(thing: object, seen: set[int]) -> Iterator[object]:
    """Everything that a thing is made of."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    yield thing
    if isinstance(thing, msgspec.Struct):
        fields: list[object] = [getattr(thing, name) for name in thing.__struct_fields__]
    elif isinstance(thing, dict):
        fields = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        fields = list(thing)
    elif isinstance(thing, Offer | Timeline | Schedule | CompiledCard):
        fields = [getattr(thing, name) for name in thing.__slots__]
    else:
        fields = []
    for field in fields:
        yield from values(field, seen)


def test_nothing_is_a_float(catalogue: Catalogue) -> None:
    """In the catalogue, in what is compiled from it and in the costs there is not one value of type float."""
    book = PriceBook(catalogue)
    usages = [
        Usage(input_tokens=300_000, output_tokens=7, web_searches=1),
        Usage(audio_seconds=Decimal("3.5")),
    ]
    costs = [
        book.price(usage, provider=provider.id, model=entry.id, at=NOW, context={"service_tier": "priority"})
        for provider in catalogue.providers
        for entry in provider.models[:20]
        for usage in usages
    ]
    kinds = {type(value) for value in values([catalogue, costs, list(book._offers.values())], set())}
    assert float not in kinds
    assert complex not in kinds
    assert {int, Decimal, Fraction} <= kinds
