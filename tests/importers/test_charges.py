"""Where a provider states its own charge and the price book has the model, ours is the same to the last digit."""

from __future__ import annotations

import pytest

from taximeter.importers.captures import meter_capture
from taximeter.money import Money
from taximeter.pricing import PriceBook
from tests.wire.recordings import names, recording

pytestmark = pytest.mark.needs("captures")

STATE_THEIR_CHARGE = {"xai", "openrouter", "vercel"}

DIFFER = {
    # the user's own key at the provider: OpenRouter charged nothing, and states what the provider did (0.00417)
    "openai_chat/openrouter.j.dd-trace-py.3f4efa0eff": ("0.00417", "0"),
    # a plugin's fee of 0.002 that no count on the wire shows; OpenRouter's own token costs sum to ours
    "openai_chat/openrouter.j.pydantic-ai.eaf8f2d8c1": ("0.00016775", "0.00216775"),
    # an advisor (another model) and a tool, charged without their counts; the token costs sum to ours
    "openai_chat/openrouter.s.pydantic-ai.0ab7cf4ae9": ("0.0001776", "0.0145476"),
    # the price book dates this model's prices from October on and knows no dearer ones before
    "openai_responses/openrouter.j.pydantic-ai.577df1696e": ("0.010096", "0.025265"),
    # OpenRouter routed to a dearer host than the one that the book has
    "openai_responses/openrouter.s.pydantic-ai.49511b001a": ("0.000007442", "0.0000113"),
}
"""Calls whose charge is not ours, with both figures and the reason."""


def test_their_charge_is_ours() -> None:
    """Every comparable call agrees, or is listed with its reason."""
    book = PriceBook.load()
    agreed = 0
    for name in names():
        event = meter_capture(recording(name).capture, book).event
        if event.provider not in STATE_THEIR_CHARGE or event.cost is None or event.provider_cost is None:
            continue
        figures = (event.cost, event.provider_cost)
        if name in DIFFER:
            ours, theirs = DIFFER[name]
            assert figures == (Money.usd(ours), Money.usd(theirs)), name
        else:
            assert event.cost == event.provider_cost, name
            agreed += 1
    assert agreed >= 20
