"""Where the scenes are played: a provider of one's own, a meter on every call, and nothing left running afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import msgspec

from taximeter.cli.demo.callers import Callers, callers
from taximeter.cli.demo.feed import Feed
from taximeter.cli.demo.scenes import SCENES, Scene
from taximeter.errors import TaximeterError
from taximeter.instrument import instrument, uninstrument
from taximeter.meter import Meter, Settings, configure, scope
from taximeter.simulator import Served, Simulator


class Played(NamedTuple):
    """What is left when the scenes have been played.

    Attributes:
        served: the provider's own books, closed.
        sdks: with which SDKs it was called.
    """

    served: tuple[Served, ...]
    sdks: tuple[str, ...]


def play(feed: Feed, store_url: str, tags: Mapping[str, str], *, use_sdks: bool) -> Played:
    """Plays every scene, as an application would that switched the meter on.

    Args:
        feed: shows it.
        store_url: where the calls are to be kept.
        tags: each of them has.
        use_sdks: whether to call with the SDKs that are installed.

    Raises:
        TaximeterError: when a call did not do what its scene takes for granted.
    """
    feed.begin()
    with ExitStack() as stack:
        meter = _meter(store_url)
        stack.callback(meter.close)
        instrument()
        stack.callback(uninstrument)
        simulator = stack.enter_context(Simulator())
        who = callers(simulator, stack, use_sdks=use_sdks)
        feed.head(who.sdks)
        with feed.listening(), scope(tags=tags):
            for scene in SCENES:
                _play(scene, who, feed)
        simulator.stop()  # its books are closed with it: whoever went in the midst of an answer is in them now
        meter.flush()
        return Played(simulator.served, who.sdks)


def _meter(store_url: str) -> Meter:
    """A meter as it is by default, whatever the environment says, but for the store and the user's own prices."""
    plain: dict[str, Any] = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    return configure(redact=None, **(plain | {"store": store_url}))


def _play(scene: Scene, who: Callers, feed: Feed) -> None:
    attributed = scope(project=scene.project, user=scene.user, operation=scene.operation)
    try:
        with attributed, feed.scene(scene) as remarks:
            remarks.extend(scene.play(who))
    except Exception as error:  # an SDK may raise anything
        msg = f"the demo could not play {scene.title!r}: {type(error).__name__}: {error}"
        if who.sdks:
            msg += f"; --no-sdks calls without {', '.join(who.sdks)}"
        raise TaximeterError(msg) from error
