"""What the tests of pricing share: the book of the installed data, and its catalogue."""

from __future__ import annotations

import pytest

from taximeter.pricing import PriceBook
from taximeter.pricing.catalogue import Catalogue
from taximeter.pricing.files import load_catalogue


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The installed catalogue."""
    return load_catalogue()


@pytest.fixture(scope="session")
def book(catalogue: Catalogue) -> PriceBook:
    """A book of the installed catalogue and nothing else."""
    return PriceBook(catalogue)
