"""Pricing: usage in, cost out. Exact, dated, fast. What it promises, and what not: ``README.md``."""

from taximeter.pricing.book import PriceBook
from taximeter.pricing.card import CardRate, RateCard

__all__ = ["CardRate", "PriceBook", "RateCard"]
