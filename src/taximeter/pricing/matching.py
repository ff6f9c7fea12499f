"""Finds the model that a name means, by the same rules as ``genai-prices``."""

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple

from taximeter.pricing.catalogue import Catalogue, Model, Provider

_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Match(NamedTuple):
    """A model that was found.

    Attributes:
        provider: whose entry it is.
        model: the entry.
        own: whether it is the asked provider's own, and not one of a provider that it falls back to.
    """

    provider: Provider
    model: Model
    own: bool


class Finder:
    """Looks names up in a catalogue. Remembers nothing; who asks often does."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Looks names up in ``catalogue``."""
        self._providers = {provider.id: provider for provider in catalogue.providers}

    def provider(self, provider_id: str) -> Provider | None:
        """The provider with exactly this id."""
        return self._providers.get(provider_id)

    def provider_of(self, name: str) -> Provider | None:
        """The provider whose models are called like ``name``."""
        name = name.lower()
        entries = self._providers.values()
        return next((entry for entry in entries if entry.own_models and entry.own_models.matches(name)), None)

    def find(self, provider_id: str, name: str) -> Match | None:
        """The model that ``name`` means at this provider.

        A date written ``-20251211`` is tried as it stands, then as ``-2025-12-11``: gateways rewrite dates.
        """
        provider = self._providers.get(provider_id)
        if provider is None:
            return None
        name = name.lower()
        match = self._match(provider, name)
        if match is None and (dashed := _with_dashed_dates(name)) != name:
            match = self._match(provider, dashed)
        return match

    def _match(self, provider: Provider, name: str) -> Match | None:
        if model := _first(provider, name):
            return Match(provider, model, own=True)
        for fallback_id in provider.fallback:
            # One step only: the fallback's own fallbacks are not its models.
            fallback = self._providers.get(fallback_id)
            if fallback and (model := _first(fallback, name)):
                return Match(fallback, model, own=False)
        return None


def _first(provider: Provider, name: str) -> Model | None:
    return next((model for model in provider.models if model.names.matches(name)), None)


def _with_dashed_dates(name: str) -> str:
    return _COMPACT_DATE.sub(_dashed, name)


def _dashed(found: re.Match[str]) -> str:
    try:
        day = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return found[0]  # 20250230: digits, but no day
    return f"-{day.isoformat()}"
