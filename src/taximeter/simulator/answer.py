"""What the simulated model says: always the same to the same request, and counted by the token rule."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from taximeter.simulator.ask import Ask, Received, Tool, dump
from taximeter.simulator.tokens import passage, tokens
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text

_SHORTEST: Final = 12
_SPREAD: Final = 37
_EFFORTS: Final[Mapping[str, int]] = {"minimal": 8, "low": 16, "medium": 48, "high": 128, "xhigh": 256, "max": 256}
_NO_EFFORT: Final = ("none", "off", "disabled")
_MOST_CALLS: Final = 8


class ToolUse(NamedTuple):
    """One call of a tool that the model asks for.

    Attributes:
        serial: tells it apart: 24 hexadecimal digits that its id is made of.
    """

    serial: str
    name: str
    arguments: Json

    @property
    def json(self) -> str:
        """The arguments as JSON."""
        return dump(self.arguments)


class Said(NamedTuple):
    """One answer.

    Attributes:
        pieces: its text, cut as a stream sends it.
    """

    pieces: tuple[str, ...]
    calls: tuple[ToolUse, ...]
    stopped: Literal["stop", "length", "tools"]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


class Counts(NamedTuple):
    """What a call used, in tokens. ``input`` holds ``read`` and ``written``, ``output`` holds ``reasoning``."""

    input: int
    read: int
    written: int
    written_for: str
    media: int
    output: int
    reasoning: int

    @property
    def fresh(self) -> int:
        """Input that no cache had a part in."""
        return self.input - self.read - self.written

    @property
    def total(self) -> int:
        """Everything."""
        return self.input + self.output


class Answer(msgspec.Struct, frozen=True):
    """Everything that the model made of a request."""

    thoughts: tuple[str, ...]
    choices: tuple[Said, ...]
    counts: Counts

    @property
    def first(self) -> Said:
        """The answer, where a format knows only one."""
        return self.choices[0]


class CacheHit(NamedTuple):
    """What the prefix cache had, in tokens, and what it keeps from now on."""

    read: int
    written: int
    kept_for: str


def think(call: Received, ask: Ask, hit: CacheHit) -> Answer:
    """The answer to a request.

    Args:
        call: the request.
        ask: what it asks for.
        hit: what the prefix cache says of it.
    """
    given = sum(turn.tokens for turn in ask.turns) + ask.tools_tokens
    reasoning = _reasoning_tokens(call, ask)
    thoughts = passage(b"thoughts" + call.key, reasoning)
    budget = None if ask.max_tokens is None else max(ask.max_tokens - reasoning, 0)
    choices = tuple(_say(call, ask, index, budget) for index in range(ask.choices))
    output = reasoning + sum(_output_tokens(said) for said in choices)
    read = hit.read if call.knobs.cached is None else min(call.knobs.cached, given)
    written = hit.written if call.knobs.cached is None else 0
    media = sum(turn.media for turn in ask.turns)
    return Answer(thoughts, choices, Counts(given, read, written, hit.kept_for, media, output, reasoning))


def _output_tokens(said: Said) -> int:
    return tokens(said.text) + sum(tokens(call.name) + tokens(call.json) for call in said.calls)


def _reasoning_tokens(call: Received, ask: Ask) -> int:
    if call.knobs.reasoning is not None:
        wanted = call.knobs.reasoning
    elif ask.effort is not None:
        wanted = 0 if ask.effort in _NO_EFFORT else _EFFORTS.get(ask.effort, _EFFORTS["medium"])
    else:
        wanted = _EFFORTS["medium"] if "reason" in call.model.lower() else 0
    return wanted if ask.max_tokens is None else min(wanted, ask.max_tokens // 2)


def _say(call: Received, ask: Ask, index: int, budget: int | None) -> Said:
    calls = _tool_calls(call, ask)
    while calls and budget is not None and _output_tokens(Said((), calls, "tools")) > budget:
        calls = calls[:-1]
    if calls:
        return Said((), calls, "tools")
    seed = hashlib.sha256(b"answer%d" % index + call.key).digest()
    wanted = _SHORTEST + seed[0] % _SPREAD if call.knobs.output is None else call.knobs.output
    if budget is not None and wanted > budget:
        return Said(passage(seed, budget), (), "length")
    return Said(passage(seed, wanted), (), "stop")


def _tool_calls(call: Received, ask: Ask) -> tuple[ToolUse, ...]:
    """The calls that a request asks for, unless it brings the results of such calls."""
    last = ask.turns[-1] if ask.turns else None
    if not ask.tools or ask.choice == "none" or last is None or last.role != "user":
        return ()
    named = next((tool for tool in ask.tools if tool.name == ask.choice), None)
    said = last.text.lower()
    if call.knobs.tools is not None:
        number = call.knobs.tools
    elif "use tools" in said:
        number = max(2, len(ask.tools))
    else:
        number = int(ask.choice is not None or "use a tool" in said)
    number = min(number, _MOST_CALLS if ask.parallel else 1)
    order = [named] if named else ask.tools
    return tuple(_use(call, order[index % len(order)], index) for index in range(number))


def _use(call: Received, tool: Tool, index: int) -> ToolUse:
    seed = hashlib.sha256(b"tool%d" % index + call.key)
    return ToolUse(seed.hexdigest()[:24], tool.name, obj(_example(tool.schema | {"type": "object"}, seed.digest())))


def _example(schema: Json, seed: bytes) -> object:
    """A value that a JSON schema allows, where it is a plain one."""
    options = arr(schema.get("enum"))
    if options:
        return options[seed[0] % len(options)]
    kind = schema.get("type")
    kind = str(arr(kind)[0] if arr(kind) else kind).lower()  # Gemini writes types in capitals
    if kind == "object":
        members = obj(schema.get("properties")).items()
        return {name: _example(obj(member), hashlib.sha256(seed + name.encode()).digest()) for name, member in members}
    if kind == "array":
        return [_example(obj(schema.get("items")), seed)]
    plain = {"integer": 1 + seed[0] % 9, "number": 1 + seed[0] % 9, "boolean": bool(seed[0] % 2), "null": None}
    return plain.get(kind, text(schema.get("default")) or "".join(passage(seed, 3)).strip())


def fragments(value: str, size: int = 12) -> list[str]:
    """A text in pieces of so many characters: how streams send a tool's arguments."""
    return [value[at : at + size] for at in range(0, len(value), size)]
