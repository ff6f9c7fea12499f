"""Lists of models: what is known of each is put in, and every other byte stays."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from taximeter.gateway.config import Config, GatewaySettings, UpstreamSettings
from taximeter.gateway.models import ModelLists
from taximeter.gateway.opening import open_gate
from taximeter.gateway.worker import Gateway
from taximeter.meter.making import NoPrices
from taximeter.pricing import PriceBook
from taximeter.simulator import Simulator
from tests.gateway.extras.stage import send
from tests.gateway.http.stage import Upstream, answering

BOOK = PriceBook.load(None)
MINI = b'"context_window":400000,"taximeter":{"usd_per_million":' + msgspec.json.encode(
    {"input_tokens": "0.25", "output_tokens": "2", "cache_read_tokens": "0.025"}
)


@pytest.fixture
def lists() -> ModelLists:
    """By the price book that is installed."""
    return ModelLists(lambda: BOOK)


def test_members_are_put_into_what_is_known(lists: ModelLists) -> None:
    """Into an entry that is known, behind what it has; spaces, order and numbers of the rest stay."""
    body = (
        b'{ "object":"list",\n "data" : [ {"id":"gpt-5-mini", "x":1.50 } ,\n{"id":"nobody-knows-it"}, 7, {}, null ] }'
    )
    edited = lists.edited("openai", body)
    assert edited == body.replace(b'"x":1.50 }', b'"x":1.50,' + MINI + b"}}")


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("openai", b'{"data":[{"id":"gpt-5-mini"}]}'),
        ("anthropic", b'{"data":[{"id":"claude-haiku-4-5","type":"model"}],"has_more":false}'),
        ("google", b'{"models":[{"name":"models/gemini-2.5-flash","inputTokenLimit":1}]}'),
    ],
)
def test_each_api(lists: ModelLists, provider: str, body: bytes) -> None:
    """OpenAI's, Anthropic's and Gemini's: the rates are those of the price book, as decimals of a million tokens."""
    [entries] = [
        each for each in msgspec.json.decode(lists.edited(provider, body) or b"").values() if type(each) is list
    ]
    rates: dict[str, str] = entries[0]["taximeter"]["usd_per_million"]
    assert {"input_tokens", "output_tokens", "cache_read_tokens"} <= rates.keys()
    assert all(Decimal(rate) > 0 for rate in rates.values())
    assert entries[0]["context_window"] > 10_000


def test_what_is_there_already_stays(lists: ModelLists) -> None:
    """A provider that tells a context window itself (Groq does) is not contradicted; nothing is put in twice."""
    body = b'{"data":[{"id":"gpt-5-mini","context_window":1}]}'
    edited = lists.edited("openai", body)
    assert edited is not None
    assert edited.startswith(body[:-3] + b',"taximeter":')
    assert lists.edited("openai", edited) is None


def test_the_same_words_elsewhere_stay(lists: ModelLists) -> None:
    """A list within another member, and one that stands at two places."""
    data = b'"data":[{"id":"gpt-5-mini"},{"id":"gpt-5-mini"}]'
    body = b'{"inside":{%b},%b}' % (data, data)
    edited = lists.edited("openai", body) or b""
    assert edited.startswith(b'{"inside":{%b},"data"' % data)
    assert edited.count(MINI) == 2


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"nothing", b'{"data":{}}', b'{"data":[{"id":7}]}', b'{"data":[{"id":"gpt-5-mini"}', b'{"error":{}}'],
)
def test_what_is_no_list_stays(lists: ModelLists, body: bytes) -> None:
    """Whatever it is."""
    assert lists.edited("openai", body) is None


def test_without_prices_nothing_is_put_in() -> None:
    """A price book that cannot be read tells nothing."""
    assert ModelLists(lambda: NoPrices("broken")).edited("openai", b'{"data":[{"id":"gpt-5-mini"}]}') is None


def test_rates_are_those_of_the_day() -> None:
    """What was looked up yesterday is looked up again."""
    asked: list[int] = []
    days = iter([date(2026, 1, 1), date(2026, 1, 1), date(2026, 1, 2)])

    def book() -> PriceBook:
        asked.append(1)
        return BOOK

    made = ModelLists(book, lambda: next(days))
    for _ in range(3):
        made.edited("openai", b'{"data":[{"id":"gpt-5-mini"}]}')
    assert len(asked) == 2


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    """A simulated provider."""
    with Simulator() as made:
        yield made


def before(url: str, lists: ModelLists, **gateway: Any) -> Gateway:
    """A gateway before one upstream, to be entered."""
    told: dict[str, Any] = {"auth": "none"} | gateway
    config = Config(gateway=GatewaySettings(**told), upstreams={"openai": UpstreamSettings(base_url=url)})
    gate = open_gate(config, environment={"OPENAI_API_KEY": "k"}, models=lists)
    return Gateway(lambda: gate, config.gateway, None)


def test_through_the_gateway(provider: Simulator, lists: ModelLists) -> None:
    """With a cost in the usage; without, the list is the provider's own to the byte."""
    with before(provider.url("openai"), lists) as made:
        told = send(made, "/v1/models")
        mounted = send(made, "/openai/v1/models")
        one = send(made, "/v1/models/gpt-5-mini")
    with before(provider.url("openai"), lists, cost_in_usage=False) as made:
        plain = send(made, "/v1/models")
    assert MINI in told.body
    assert told.body == mounted.body == lists.edited("openai", plain.body)
    assert MINI not in plain.body + one.body
    assert int(told.headers["content-length"]) == len(told.body)


@pytest.mark.parametrize("in_chunks", [False, True])
def test_an_encoded_list(lists: ModelLists, *, in_chunks: bool) -> None:
    """It is asked for without encoding; comes one all the same, it is undone. What is no success passes."""
    body = gzip.compress(b'{"data":[{"id":"gpt-5-mini"}]}')
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    if in_chunks:
        answer = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        answer = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    with Upstream(answering(answer)) as upstream, before(f"http://127.0.0.1:{upstream.port}", lists) as made:
        said = send(made, "/v1/models", headers={"Accept-Encoding": "gzip"})
    assert MINI in said.body
    assert "content-encoding" not in said.headers
    assert b"gzip" not in upstream.requests[0]
