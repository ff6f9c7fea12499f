"""What is kept of what is said: nothing unless asked for, then the arguments of tool calls, then the text too."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from taximeter.event import Content
from taximeter.wire import Reader, Reading, Route
from taximeter.wire.keeping import CUT, MAX_CHARACTERS, Keep, KeptAnswer, KeptText, bounded
from tests.wire.making import Json, dump, feed, pieces
from tests.wire.said import STREAMED, WHOLE, Said, as_sent, chat
from tests.wire.streams import SHAPES, TAME


def read(said: Said, keep: Keep, *, size: int | None = None, cut: bool = False) -> Reading:
    """The reading of an answer, in one piece or in many."""
    reader = Reader(Route(said.api, "openai"), headers=[("content-type", said.content_type)], keep=keep)
    for piece in [said.body] if size is None else pieces(said.body, size):
        reader.feed(piece)
    return reader.close(cut=cut)


ALL = [
    *[pytest.param(said, id=f"{name}, whole") for name, said in WHOLE.items()],
    *[pytest.param(as_sent(said), id=f"{name}, streamed") for name, said in STREAMED.items()],
]


@pytest.mark.parametrize("said", ALL)
def test_everything(said: Said) -> None:
    """With ``full`` the text is kept, thoughts are not, and the arguments of tools are; however the bytes are cut."""
    for size in (None, 1, 7):
        assert read(said, "full", size=size).content == Content(answer=said.answer, tool_arguments=said.arguments)


@pytest.mark.parametrize("said", ALL)
def test_arguments_alone(said: Said) -> None:
    """With ``tool_arguments`` the text is not kept, and nothing at all where no tool was called."""
    expected = Content(tool_arguments=said.arguments) if said.arguments else None
    for size in (None, 7):
        reading = read(said, "tool_arguments", size=size)
        assert reading.content == expected
        assert len(reading.tool_calls) == len(said.arguments)


@pytest.mark.parametrize("said", ALL)
def test_nothing_by_default(said: Said) -> None:
    """Nothing is kept unless it is asked for, and what else is read is the same whether it is or not."""
    route, kind = Route(said.api, "openai"), [("content-type", said.content_type)]
    plain = feed(route, [said.body], headers=kind)
    assert plain.content is None
    for keep in ("tool_arguments", "full"):
        kept = read(said, keep)
        assert [getattr(kept, name) for name in WITHOUT_CONTENT] == [getattr(plain, name) for name in WITHOUT_CONTENT]


WITHOUT_CONTENT = [name for name in Reading.__struct_fields__ if name != "content"]


@pytest.mark.parametrize("name", SHAPES)
def test_streams_of_every_shape(name: str) -> None:
    """Of a stream whose events are all alike no text is lost, since none is passed over."""
    shape = SHAPES[name]
    events = [*shape.before, *(shape.event(text, place) for place, text in enumerate(TAME)), *shape.after]
    reader = Reader(Route(shape.api, shape.provider), headers=[("content-type", shape.content_type)], keep="full")
    for event in events:
        reader.feed(event)
    content = reader.close().content
    assert content is not None
    expected = TAME
    if name in ("chat, reasoning", "anthropic, thinking"):
        expected = TAME[5:]
    elif name == "chat, two choices":
        expected = [*TAME[::2], "\n\n", *TAME[1::2]]
    ending = "." if shape.api == "gemini.generate" else ""  # beside the finish reason
    assert content.answer == "".join(expected) + ending


def test_a_stream_that_was_cut() -> None:
    """What was said before the connection broke is kept."""
    said = as_sent(STREAMED["anthropic"])
    at = said.body.index(b"input_json_delta")
    reading = read(said._replace(body=said.body[:at]), "full", cut=True)
    assert reading.complete is False
    assert reading.content == Content(answer="".join(TAME), tool_arguments=("",))


def test_an_error_says_nothing() -> None:
    """Of an answer that is an error no text is kept."""
    reader = Reader(Route("openai.chat", "openai"), status=429, keep="full")
    reader.feed(dump({"error": {"message": "Slow down"}}))
    assert reader.close().content == Content()


# ---- how much


def joined(texts: Iterable[str]) -> str:
    """The texts as one that came in pieces."""
    kept = KeptText()
    for text in texts:
        kept.add(text)
    return str(kept)


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_a_text_is_bounded(count: int) -> None:
    """A text is kept up to a length, in however many pieces it comes, and what was cut says so."""
    size = -(-MAX_CHARACTERS // count)
    whole = ("é" * size * count)[:MAX_CHARACTERS]
    parts = [whole[at : at + size] for at in range(0, MAX_CHARACTERS, size)]
    assert joined(parts) == whole
    assert joined([*parts, "", "x"]) == whole + CUT
    assert joined([*parts, "x" * 10_000, "y"]) == whole + CUT
    assert bounded(whole + "x") == whole + CUT


def test_an_answer_is_bounded() -> None:
    """Several choices share the bound, so that a choice more does not make an answer longer."""
    answer = KeptAnswer()
    for choice in range(5):
        answer.add("x" * (MAX_CHARACTERS // 2), choice)
    assert len(str(answer)) == MAX_CHARACTERS + len(CUT)
    assert str(answer).endswith(CUT)


def test_arguments_are_bounded() -> None:
    """The arguments of each tool call have the same bound."""
    long = "x" * (MAX_CHARACTERS + 1)
    calls: list[Json] = [{"id": name, "function": {"name": name, "arguments": long}} for name in "ab"]
    content = read(Said("openai.chat", chat({"content": None, "tool_calls": calls}), None), "tool_arguments").content
    assert content is not None
    assert content.tool_arguments == (long[:-1] + CUT,) * 2


def test_a_choice_that_cannot_be_told_apart() -> None:
    """An index that is an array breaks nothing."""
    body = dump({"choices": [], "candidates": [{"index": [1], "content": {"parts": [{"text": "Good day."}]}}]})
    reading = read(Said("gemini.generate", body, None), "full")
    assert reading.content == Content(answer="Good day.")
