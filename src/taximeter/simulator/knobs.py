"""What a caller asks the simulator to do beside answering: faults, and how much of what.

Written in the header ``x-simulate: drop=3, gzip`` or behind the model's name, ``gpt-4o+drop=3+gzip``.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

import msgspec

FOREVER: Final = -1
"""A stall that never ends."""

Encoding = Literal["gzip", "deflate", "br", "zstd"]


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """One call's knobs, as :data:`WORDS` describes them. ``None`` or ``False``: not turned."""

    # faults
    status: int | None = None
    retry_after: int | None = None
    times: int | None = None
    no_head: bool = False
    slow: int = 0
    drop: int | None = None
    stall: int = 0
    hang: int | None = None
    error_event: int | None = None
    garbage: int | None = None
    wrong_length: int | None = None
    refuse_stream_options: bool = False
    bytewise: bool = False
    encoding: Encoding | None = None
    # what is answered
    no_usage: bool = False
    usage: Literal["asked", "always", "every"] | None = None
    cached: int | None = None
    reasoning: int | None = None
    output: int | None = None
    tools: int | None = None
    pending: int = 0
    seed: int = 0

    @property
    def counts_chunks(self) -> bool:
        """Whether a whole body must be sent in chunks, so that they can be counted."""
        return any(each is not None for each in (self.drop, self.hang, self.garbage)) or self.stall != 0

    def spent(self) -> Knobs:
        """The same without the faults that ``times`` limits."""
        return msgspec.structs.replace(
            self,
            status=None,
            no_head=False,
            drop=None,
            hang=None,
            stall=max(self.stall, 0),
            error_event=None,
            garbage=None,
            wrong_length=None,
        )


class Word(NamedTuple):
    """One word that a caller may write.

    Attributes:
        name: the word, or ``word=VALUE``.
        meaning: what it does, in a line.
    """

    name: str
    meaning: str


WORDS: Final = (
    Word(
        "status=N", "answer with this HTTP status, in the format's own shape of an error; 429, 500 … are short for it"
    ),
    Word("retry-after=S", "the Retry-After of a 429, 503 or 529, in seconds (1 if not given)"),
    Word("times=N", "the first N calls with this same request fail as asked, later ones succeed"),
    Word("no-head", "close the connection before the head of the answer"),
    Word("slow=MS", "wait before the head"),
    Word("stall=MS", "wait before each chunk after the first; `stall=forever` never sends a second one"),
    Word("hang=N", "send N chunks, then nothing more, and keep the connection open"),
    Word("drop=N", "send N chunks, then close the connection; of a whole body, 64 bytes are a chunk"),
    Word("error-event=N", "after N chunks of a stream, an error in the format's own shape, and the end (1)"),
    Word("garbage=N", "after N chunks, bytes that mean nothing in place of the rest (0)"),
    Word("wrong-length=N", "announce a content-length that is N bytes too large; too small if N is negative (10)"),
    Word("refuse-stream-options", "answer 422 to a request that has stream_options"),
    Word("bytewise", "write each byte by itself"),
    Word("gzip", "encode the body so, whatever the request accepts; also deflate, br, zstd"),
    Word("no-usage", "state no usage"),
    Word(
        "usage=WHEN", "OpenAI's chat streams state it when `asked`, `always`, or as a running figure on `every` chunk"
    ),
    Word("cached=N", "N input tokens count as read from the cache"),
    Word("reasoning=N", "think N tokens before the answer"),
    Word("output=N", "answer with a text of N tokens"),
    Word("tools=N", "ask for N calls of the tools that the request declares"),
    Word("pending=N", "a background response is still in progress on its first N polls"),
    Word("seed=N", "another answer, with other ids, to the same request"),
)
"""Every word there is."""

_ENCODINGS: Final[dict[str, Encoding]] = {"gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}
_FLAGS: Final = frozenset({"no-head", "refuse-stream-options", "bytewise", "no-usage"})
_NUMBERS: Final[dict[str, int | None]] = {
    "status": None,
    "retry-after": None,
    "times": None,
    "slow": None,
    "stall": None,
    "hang": None,
    "drop": None,
    "error-event": 1,
    "garbage": 0,
    "wrong-length": 10,
    "cached": None,
    "reasoning": None,
    "output": None,
    "tools": None,
    "pending": None,
    "seed": None,
}
"""Words with a number, and the number that is meant when none is written."""
_USAGES: Final = ("asked", "always", "every")
_MOST: Final = 1_000_000
_STATUSES: Final = range(400, 600)


class BadKnobError(ValueError):
    """A word that the simulator does not know, or a value that it cannot have."""


def turn(header: str, suffix: str) -> Knobs:
    """The knobs that a header and a model's suffix ask for; the header wins.

    Raises:
        BadKnobError: names the word, and lists those that there are.
    """
    turned: dict[str, object] = {}
    for word in (*suffix.split("+"), *re.split(r"[,;\s]+", header)):
        if word:
            turned.update(_turned(word))
    return msgspec.convert(turned, Knobs)


def split_model(model: str) -> tuple[str, str]:
    """A model's name, and the knobs written behind it; what is not made of known words belongs to the name."""
    name, _, suffix = model.partition("+")
    words = suffix.split("+")
    known = _FLAGS | _ENCODINGS.keys() | _NUMBERS.keys() | {"usage"}
    if name and all(word.partition("=")[0] in known or word.isdigit() for word in words):
        return name, suffix
    return model, ""


def _turned(word: str) -> dict[str, object]:
    name, _, value = word.lower().partition("=")
    if name.isdigit() and not value:
        name, value = "status", name
    key = name.replace("-", "_")
    if name in _ENCODINGS and not value:
        return {"encoding": _ENCODINGS[name]}
    if name in _FLAGS and not value:
        return {key: True}
    if name == "usage" and value in _USAGES:
        return {key: value}
    if name not in _NUMBERS:
        msg = f"x-simulate: {word!r} means nothing here; there are {', '.join(each.name for each in WORDS)}"
        raise BadKnobError(msg)
    return {key: _number(name, value)}


def _number(name: str, value: str) -> int:
    if name == "stall" and value == "forever":
        return FOREVER
    given = _NUMBERS[name] if not value else int(value) if re.fullmatch(r"-?[0-9]{1,7}", value) else None
    lowest = -_MOST if name == "wrong-length" else 0
    if given is None or not lowest <= given <= _MOST or (name == "status" and given not in _STATUSES):
        kind = "a status from 400 to 599" if name == "status" else f"a whole number up to {_MOST}"
        msg = f"x-simulate: {name} needs {kind}, not {value!r}"
        raise BadKnobError(msg)
    return given
