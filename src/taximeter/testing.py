"""For the tests of those who use Taximeter: a provider to call that costs nothing and always answers the same.

In a ``conftest.py``::

    from taximeter.testing import simulator

and in a test, with whatever SDK the application uses::

    def test_answers(simulator):
        client = OpenAI(base_url=simulator.url("openai"), api_key="any")
        client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Hello"}])
        assert simulator.served[0].usage["input_tokens"] == 5

Faults are asked for by header or behind the model's name; ``taximeter simulate --help`` lists them. Without pytest,
:func:`running_simulator` does the same.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from taximeter.simulator import Simulator

__all__ = ["Simulator", "running_simulator", "simulator"]


@contextmanager
def running_simulator(*, tls: bool = False, cache_from_tokens: int = 128) -> Generator[Simulator]:
    """A simulator on a free port of 127.0.0.1, for as long as the block lasts.

    Args:
        tls: whether it speaks TLS; clients are to trust its ``ca_file``.
        cache_from_tokens: the shortest prefix of messages that its cache keeps.
    """
    with Simulator(tls=tls, cache_from_tokens=cache_from_tokens) as running:
        yield running


def _simulator() -> Iterator[Simulator]:
    """A simulator of the test's own."""
    with running_simulator() as running:
        yield running


if find_spec("pytest") is not None:
    import pytest

    simulator = pytest.fixture(name="simulator")(_simulator)
    """A pytest fixture: a running :class:`Simulator`, new for each test."""
else:
    simulator = _simulator
