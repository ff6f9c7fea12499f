"""Upstreams over TLS: certificates are verified, and the calls are the same."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from taximeter.gateway.plan import Origin
from taximeter.simulator import Simulator
from tests.gateway.http.stage import Keeper, ask, gateway, post, to

ASKED = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    """A provider that speaks TLS, with a certificate that nobody but its own file vouches for."""
    with Simulator(tls=True) as made:
        yield made


def answer(origin: Origin) -> tuple[bytes, bytes]:
    """What a call to this place is answered."""
    with gateway(Keeper(to(origin.port, origin=origin))) as made:
        return ask(made, post(ASKED, target=b"/openai/v1/chat/completions"))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_certificate_that_is_vouched_for(provider: Simulator, name: str) -> None:
    """The call passes."""
    head, body = answer(Origin("127.0.0.1", provider.port, tls=True, server_name=name, verify=str(provider.ca_file)))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert msgspec.json.decode(body)["usage"]


@pytest.mark.parametrize(("name", "verified"), [("127.0.0.1", False), ("other.test", True)])
def test_a_certificate_that_is_not(provider: Simulator, name: str, verified: bool) -> None:  # noqa: FBT001 - of pytest
    """Signed by nobody that is trusted, or for another name: 502, and no request leaves."""
    before = provider.totals().calls
    verify = str(provider.ca_file) if verified else True
    head, body = answer(Origin("127.0.0.1", provider.port, tls=True, server_name=name, verify=verify))
    assert head.startswith(b"HTTP/1.1 502 ")
    assert msgspec.json.decode(body)["code"] == "upstream_unreachable"
    assert provider.totals().calls == before


def test_a_certificate_that_nobody_looks_at(provider: Simulator) -> None:
    """Only where the configuration says so."""
    head, _ = answer(Origin("127.0.0.1", provider.port, tls=True, server_name="other.test", verify=False))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
