"""What a simulator remembers from call to call. All of it is bounded; nothing of it is written down."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from taximeter.simulator.answer import CacheHit
from taximeter.simulator.ask import Ask, Turn
from taximeter.wire.loose import JsonObject as Json

_MOST_PREFIXES: Final = 50_000
_MOST_REQUESTS: Final = 10_000
_MOST_RESPONSES: Final = 1_000

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """A mapping that forgets what was not used for longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Value] = OrderedDict()

    def get(self, key: bytes) -> Value | None:
        """What is kept under the key."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: bytes, value: Value) -> None:
        """Keeps it."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


class Stored:
    """A response that can be asked for again, by its id.

    Attributes:
        turns: the conversation up to and with it.
        body: the response, done.
        usage: what it states.
        pending: how many more polls find it in progress.
    """

    def __init__(self, turns: tuple[Turn, ...], body: Json, usage: dict[str, int] | None, pending: int) -> None:
        self.turns = turns
        self.body = body
        self.usage = usage
        self.pending = pending


class Memory:
    """The prefix cache, the attempts of each request, and the responses that were stored.

    Args:
        cache_from_tokens: the shortest prefix that is cached.
    """

    def __init__(self, cache_from_tokens: int) -> None:
        self._shortest = cache_from_tokens
        self._prefixes: Recent[bool] = Recent(_MOST_PREFIXES)
        self._attempts: Recent[int] = Recent(_MOST_REQUESTS)
        self.responses: Recent[Stored] = Recent(_MOST_RESPONSES)

    def attempt(self, request: bytes) -> int:
        """The how many-th call with the same request this is, from 1."""
        number = (self._attempts.get(request) or 0) + 1
        self._attempts.put(request, number)
        return number

    def prefix(self, model: str, ask: Ask) -> CacheHit:
        """Looks the messages up among those seen before with this model, and remembers them.

        Where the request marks what is to be cached, only what is up to the last mark is looked up and kept, and what
        was not found is written. Elsewhere every message is, and nothing is said to be written.
        """
        turns = ask.turns
        kept_for = "5m"
        if ask.marks_cache:
            last = max((index for index, turn in enumerate(turns) if turn.mark), default=-1)
            kept_for = (turns[last].mark or kept_for) if last >= 0 else kept_for
            turns = turns[: last + 1]
        digest = hashlib.sha256(f"{model}\0{ask.tools!r}".encode("utf-8", "replace")).digest()
        size, found = ask.tools_tokens, 0
        for turn in turns:
            digest = turn.digest(digest)
            size += turn.tokens
            if size >= self._shortest:
                found = size if self._prefixes.get(digest) else found
                self._prefixes.put(digest, value=True)
        written = size - found if ask.marks_cache and turns and size >= self._shortest else 0
        return CacheHit(found, written, kept_for)
