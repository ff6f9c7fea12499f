"""A provider, a gateway before it, and what its users are to find: what a direct call gives, and what it cost."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taximeter.event import CallEvent
from taximeter.gateway.config import Config, GatewaySettings, UpstreamSettings
from taximeter.gateway.opening import open_gate
from taximeter.gateway.telling import GatewayMeter
from taximeter.gateway.worker import Gateway
from taximeter.meter.settings import Settings
from taximeter.simulator import Simulator
from taximeter.simulator.books import Served

SECONDS = 10
KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k"}
HELLO: list[Any] = [{"role": "user", "content": "Hello you"}]
ASK_FOR_TOOL: list[Any] = [{"role": "user", "content": "use a tool"}]
PARAMETERS: dict[str, Any] = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
OURS = ("cost_usd", "turn_cost_usd", "turn_unpriced_calls")


class Booth:
    """A gateway that asks for no key, and the provider behind it.

    Attributes:
        provider: the simulator.
        url: where the gateway is.
    """

    def __init__(self, provider: Simulator, url: str) -> None:
        self.provider = provider
        self.url = url
        self._events: list[CallEvent] = []
        self._told = threading.Condition()

    def tell(self, event: CallEvent) -> None:
        """A call has ended."""
        with self._told:
            self._events.append(event)
            self._told.notify_all()

    def forget(self) -> None:
        """Begins anew."""
        with self._told:
            self._events.clear()
        self.provider.forget()

    def events(self, calls: int) -> list[CallEvent]:
        """The calls that have ended, once they are so many; that there are no more."""
        with self._told:
            assert self._told.wait_for(lambda: len(self._events) >= calls, SECONDS), self._events
            assert len(self._events) == calls
            return sorted(self._events, key=lambda event: event.started_at)

    def event(self) -> CallEvent:
        """The only call."""
        [event] = self.events(1)
        return event

    def direct(self, api: str) -> str:
        """What an SDK is given to call the provider itself."""
        return self.provider.url(api)

    def through(self, api: str) -> str:
        """What it is given to call the gateway."""
        return f"{self.url}/v1" if api == "openai" else self.url


@contextmanager
def booth(folder: Path) -> Generator[Booth]:
    """Opens one."""
    meter = GatewayMeter(Settings(store=str(folder / "store.sqlite3")), alone=True)
    with Simulator() as provider:
        mounts = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
        told = {name: UpstreamSettings(base_url=provider.url(mount)) for name, mount in mounts.items()}
        config = Config(gateway=GatewaySettings(auth="none"), upstreams=told)
        gateway = Gateway(lambda: open_gate(config, environment=KEYS), config.gateway, meter, words=meter.told.words)
        with gateway:
            made = Booth(provider, gateway.url)
            meter.listeners.on("call_closed", made.tell)
            yield made
    meter.close()
    assert not meter.failures


def without_ours(value: Any) -> Any:
    """An answer as an SDK gives it, decoded, less what a gateway adds."""
    if isinstance(value, dict):
        return {name: without_ours(each) for name, each in value.items() if name not in OURS}
    return [without_ours(each) for each in value] if isinstance(value, list) else value


def agree(event: CallEvent, served: Served) -> bool:
    """Whether an event states what the provider says that it stated."""
    stated = dict(served.usage or {})
    return event.usage is not None and {unit: event.usage.get(unit) for unit in stated} == stated


def let_go() -> None:
    """Collects what SDKs leave open, where no other test trips over it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
