"""What the demo plays: the calls of a made-up application, each kind that a meter must get right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from taximeter.cli.demo.callers import Callers, Json, network_errors
from taximeter.event import CallEvent
from taximeter.instrument.tools import tool
from taximeter.meter import carry, on, scope, session, turn


class Scene(NamedTuple):
    """Some calls that belong together.

    Attributes:
        title: what they show.
        project, user, operation: whom they are attributed to.
        play: makes them, and gives what is to be said of them afterwards.
        at_once: whether they run concurrently, and so end in any order.
    """

    title: str
    project: str
    user: str
    operation: str
    play: Callable[[Callers], Iterator[str]]
    at_once: bool = False


_CHAT: Final = "gpt-5-mini"
_CLAUDE: Final = "claude-haiku-4-5"

_GUIDE: Final = """You are the guide of a small travel office. You plan trips by train, on foot and by boat, for people
who have two days and do not own a car. Answer in short paragraphs. Name each train by its number and the platform that
it leaves from, and say how long a change takes. Prefer paths that are open all year. If the weather is to be bad, offer
one plan for indoors and one for those who like rain. Never invent a timetable: ask the tools. Give prices in francs,
for two adults without a pass, and say what a day pass would save. If a hut or a boat must be booked, say by when."""
"""Long enough for a provider to keep it in its cache of prompts."""

_HANDBOOK: Final = "\n".join(
    f"Rule {number}: a guest who asks about {subject} is answered within the hour, by name, and is told what it costs."
    for number, subject in enumerate(("tickets", "luggage", "refunds", "delays", "pets", "children") * 8, start=1)
)

_TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": described,
            "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
        },
    }
    for name, described in (("trains", "The next trains to a town."), ("weather", "The weather in a town."))
]


@tool
def trains(town: str) -> str:
    """The next trains to a town."""
    return f"To {town}: IR 2167 at 8:05 from platform 4, IR 2169 at 9:05 from platform 6."


@tool
def weather(town: str) -> str:
    """The weather in a town."""
    return f"In {town} dry until noon, then showers; 14 degrees."


_RUN: Final[Mapping[str, Callable[[str], str]]] = {"trains": trains, "weather": weather}


def _chat(callers: Callers) -> Iterator[str]:
    """Three turns: one with a round of parallel tools, and two streams, of which one does not ask for its usage."""
    said: list[Json] = [{"role": "system", "content": _GUIDE}]
    body: Json = {"model": _CHAT, "messages": said, "tools": _TOOLS}
    with session() as talk:
        with turn():
            said.append({"role": "user", "content": "Two days in Lucerne? Use tools, both of them."})
            (choice,) = callers.openai.ask("chat/completions", body)["choices"]
            asked = choice["message"]["tool_calls"]
            said.append({"role": "assistant", "content": None, "tool_calls": asked})
            for call in asked:
                result = _RUN[call["function"]["name"]]("Lucerne")
                said.append({"role": "tool", "tool_call_id": call["id"], "content": result})
            (choice,) = callers.openai.ask("chat/completions", body)["choices"]
            said.append({"role": "assistant", "content": choice["message"]["content"]})
        seen = 0
        for question, options in (
            ("And if it rains?", {"stream_options": {"include_usage": True}}),
            ("Book that, please.", {}),
        ):
            with turn():
                said.append({"role": "user", "content": question})
                chunks = list(callers.openai.stream("chat/completions", body | {"stream": True} | options))
                said.append({"role": "assistant", "content": _text(chunks)})
                seen = sum(1 for chunk in chunks if chunk.get("usage"))
    cost = f"{talk.known_cost} USD" if not talk.unpriced_calls else "at a cost that is not known"
    yield f"One session: {talk.turns} turns, {talk.calls} calls, {cost}."
    yield f"The last stream asked for no usage. The meter did; the chat saw {seen or 'none'} of it."


def _text(chunks: list[Json]) -> str:
    """The text of a stream of Chat Completions."""
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def _cache(callers: Callers) -> Iterator[str]:
    """The same long instructions twice: written to the provider's cache, then read from it."""
    cached = [{"type": "text", "text": _HANDBOOK, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    body: Json = {"model": _CLAUDE, "max_tokens": 1024, "system": cached}
    first, second = (
        {"messages": [{"role": "user", "content": question}]}
        for question in ("My dog comes along. What does it cost?", "And my grandmother's trunk?")
    )
    with turn() as both:
        callers.anthropic.ask("messages", body | first)
        _all_of(callers.anthropic.stream("messages", body | second | {"stream": True}))
    usage = both.usage
    written, read = usage.cache_write_1h_tokens, usage.cache_read_tokens
    yield f"{written or 0:,} tokens written to the cache for an hour, {read or 0:,} read from it."


def _thinking(callers: Callers) -> Iterator[str]:
    """Reasoning, which is output, and has its own count."""
    question = "Three lakes, two days, one suitcase: in which order?"
    callers.openai.ask("responses", {"model": "o4-mini", "input": question, "reasoning": {"effort": "high"}})
    content = {"contents": [{"role": "user", "parts": [{"text": question}]}]}
    config = {"generationConfig": {"thinkingConfig": {"thinking_budget": 512}}}
    _all_of(callers.google.stream("gemini-2.5-flash", content | config))
    yield from ()


def _wires(callers: Callers) -> Iterator[str]:
    """Formats unlike each other: JSON, Amazon's binary messages, typed events, an extension of OpenAI's."""
    texts = ["A path along the lake, flat.", "A ridge, for those who do not fear heights.", "A museum of trains."]
    callers.openai.ask("embeddings", {"model": "text-embedding-3-small", "input": texts, "encoding_format": "float"})
    question = [{"role": "user", "content": [{"text": "Which of the three for a rainy day?"}]}]
    _all_of(callers.bedrock.stream("amazon.nova-lite-v1:0", {"messages": question}))
    asked = {"messages": [{"role": "user", "content": "Which of the three with a pram?"}], "stream": True}
    _all_of(callers.cohere.stream("chat", {"model": "command-r7b-12-2024"} | asked))
    _all_of(callers.groq.stream("chat/completions", {"model": "llama-3.3-70b-versatile"} | asked))
    yield from ()


def _retry(callers: Callers) -> Iterator[str]:
    """A refusal, and the retry that succeeds: two calls."""
    question = [{"role": "user", "content": "Is this letter a complaint? 'The boat left without us.'"}]
    body: Json = {"model": "llama-3.3-70b-versatile", "messages": question}
    callers.groq.ask("chat/completions", body, knobs="429, retry-after=0, times=1")
    yield "Two calls are in the books: what was refused, and what was done."


def _cut(callers: Callers) -> Iterator[str]:
    """A stream that the network cuts, and one that the application closes."""
    question = {"messages": [{"role": "user", "content": "Write an apology to the guest, in two pages."}]}
    letter = callers.anthropic.stream(
        "messages", {"model": _CLAUDE, "max_tokens": 1024, "stream": True} | question, knobs="drop=9, output=400"
    )
    with suppress(*network_errors()):
        _all_of(letter)
    with closing(
        callers.openai.stream("chat/completions", {"model": _CHAT, "stream": True} | question, knobs="hang=9")
    ) as answer:
        _all_of(islice(answer, 9))
    yield "Cut by the network: the input was stated, the output is estimated (≈)."
    yield "Closed by the application before any figure: unknown, which is not 0."


def _prices(callers: Callers) -> Iterator[str]:
    """A model that no price list knows, and a provider that states a cost of its own."""
    question = {"messages": [{"role": "user", "content": "A title for a leaflet about slow trains?"}]}
    heard: list[CallEvent] = []
    stop_listening = on("call_closed", heard.append)
    _all_of(callers.ollama.stream("chat", {"model": "llama3.2", "stream": True} | question))
    callers.openrouter.ask("chat/completions", {"model": "openai/gpt-5-mini"} | question)
    stop_listening()
    for event in heard:
        if event.provider_cost is not None:
            yield f"The router says that it charges {event.provider_cost} USD; the list says {event.cost} USD."


def _crowd(callers: Callers) -> Iterator[str]:
    """Four calls from threads and four from tasks, all at once, each attributed to its own user."""
    letters = ("lost umbrella", "thank you", "missed boat", "group fare", "wet tent", "best view", "night train", "ice")
    bodies: list[Json] = [
        {"model": "gpt-5-nano", "messages": [{"role": "user", "content": f"Sort this letter: {letter}."}]}
        for letter in letters
    ]

    def sort(number: int) -> None:
        with scope(user=_USERS[number % 2]):
            callers.openai.ask("chat/completions", bodies[number])

    async def sort_later() -> None:
        async with callers.openai.asynchronous() as ask:

            async def one(number: int) -> None:
                with scope(user=_USERS[number % 2]):
                    await ask("chat/completions", bodies[number])

            await asyncio.gather(*map(one, range(4, 8)))

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(carry(partial(sort, number))) for number in range(4)]
        asyncio.run(sort_later())
    for each in running:
        each.result()
    yield from ()


_USERS: Final = ("cleo", "dan")


def _all_of(pieces: Iterator[Json]) -> None:
    """Reads a stream to its end."""
    for _ in pieces:
        pass


SCENES: Final = (
    Scene("A chat: tools in parallel, then streams", "trips", "ana", "chat", _chat),
    Scene("A prompt cache, written and read", "support", "cleo", "answer", _cache),
    Scene("Thinking", "trips", "ben", "plan", _thinking),
    Scene("Other wire formats", "trips", "ben", "search", _wires),
    Scene("A rate limit, and the retry", "support", "dan", "sort", _retry),
    Scene("Streams that end too early", "support", "cleo", "letter", _cut),
    Scene("No price, and a router", "trips", "ana", "title", _prices),
    Scene("Four threads and four tasks at once", "support", "both", "sort", _crowd, at_once=True),
)
"""In the order in which they are played."""
