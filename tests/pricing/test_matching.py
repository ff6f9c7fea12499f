"""A name means the model that ``genai-prices`` says it means."""

from __future__ import annotations

import pytest
from genai_prices.data import providers as genai_providers
from genai_prices.data_snapshot import DataSnapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.pricing.catalogue import Catalogue
from taximeter.pricing.matching import Finder

SNAPSHOT = DataSnapshot(genai_providers, from_auto_update=False)
IDS = [provider.id for provider in genai_providers]
NAMES = sorted({model.id for provider in genai_providers for model in provider.models})


@pytest.fixture(scope="module")
def finder(catalogue: Catalogue) -> Finder:
    """A finder over the installed catalogue."""
    return Finder(catalogue)


def expected(provider_id: str, name: str) -> tuple[str, bool] | None:
    """The model that genai-prices finds, and whether it is the provider's own."""
    try:
        provider, model = SNAPSHOT.find_provider_model(name, None, provider_id, None)
    except LookupError:
        return None
    return model.id, any(model is own for own in provider.models)


def found(finder: Finder, provider_id: str, name: str) -> tuple[str, bool] | None:
    """The same from ours."""
    match = finder.find(provider_id, name)
    return (match.model.id, match.own) if match else None


def test_every_model_id_at_its_provider(finder: Finder) -> None:
    """Each id of the catalogue, as it is and in capitals, finds what genai-prices finds."""
    for provider in genai_providers:
        for model in provider.models:
            for name in (model.id, model.id.upper()):
                assert found(finder, provider.id, name) == expected(provider.id, name), (provider.id, name)


@pytest.mark.parametrize("provider_id", ["azure", "google", "aws", "openai", "anthropic"])
def test_every_model_id_at_providers_that_serve_others(finder: Finder, provider_id: str) -> None:
    """Every id of any provider, asked of those with fallbacks or fuzzy names, finds what genai-prices finds."""
    for name in NAMES:
        assert found(finder, provider_id, name) == expected(provider_id, name), name


MADE_UP = st.builds(
    lambda front, name, back: front + name + back,
    st.sampled_from(["", "us.", "eu.anthropic.", "openai/", "ft:", "models/", "~", " "]),
    st.one_of(
        st.sampled_from(NAMES), st.text("abcdefghijklmnopqrstuvwxyz0123456789-.:/@", max_size=24), st.text(max_size=8)
    ),
    st.sampled_from(
        ["", "-20251211", "-2025-12-11", "-20250230", "-latest", ":free", "-v1:0", "-20241022:beta", "@20250219"]
    ),
)


@settings(max_examples=600)
@given(provider_id=st.sampled_from(IDS), name=MADE_UP)
def test_made_up_names(finder: Finder, provider_id: str, name: str) -> None:
    """Names with prefixes, suffixes, dates that exist or not, and noise find what genai-prices finds, or nothing."""
    assert found(finder, provider_id, name) == expected(provider_id, name)


def test_a_compact_date_is_tried_as_a_dashed_one(finder: Finder) -> None:
    """``-20251211`` finds an entry that is listed under ``-2025-12-11``, and 30 February is left as it is."""
    match = finder.find("openai", "gpt-5.2-20251211")
    assert match is not None
    assert match.model.id == "gpt-5.2"
    assert finder.find("openai", "gpt-5.2-20250230") is None


@pytest.mark.parametrize("name", [*NAMES[::25], "gpt-4o", "claude-opus-4-8", "gemini-3-pro", "nobody-knows-this"])
def test_the_provider_of_a_bare_name(finder: Finder, name: str) -> None:
    """Without a provider, a name betrays the same one as in genai-prices."""
    try:
        provider_id = SNAPSHOT.find_provider(name.lower(), None, None).id
    except LookupError:
        provider_id = None
    provider = finder.provider_of(name)
    assert (provider.id if provider else None) == provider_id


def test_unknown_provider(finder: Finder) -> None:
    """A provider that is not in the catalogue has no models: that is no error."""
    assert finder.find("nobody", "gpt-4o") is None
