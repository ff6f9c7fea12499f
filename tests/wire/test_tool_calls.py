"""Tool calls of Chat Completions: names, ids, and how many bytes of arguments, streamed and whole."""

from __future__ import annotations

from taximeter.event import ToolCall
from taximeter.wire.format import MAX_TOOL_CALLS
from tests.wire.making import Json, chat_body, chat_chunk, chat_usage, read, sse, usage_chunk


def piece(index: int, arguments: str | None = None, *, choice: int = 0, **members: object) -> Json:
    """A chunk with a piece of a tool call."""
    function: Json = {key: members.pop(key) for key in ("name",) if key in members}
    if arguments is not None:
        function["arguments"] = arguments
    call: Json = {"index": index, **members, "function": function}
    return chat_chunk(delta={"tool_calls": [call]}, index=choice)


def whole(**message: object) -> Json:
    """A whole answer with this message."""
    choice: Json = {"index": 0, "message": {"role": "assistant", "content": None, **message}}
    return {"model": "m", "choices": [{**choice, "finish_reason": "tool_calls"}], "usage": chat_usage(12, 7)}


def test_streamed_arguments() -> None:
    """Id and name come first, arguments in pieces: bytes of UTF-8 are counted, not characters."""
    body = sse(
        piece(0, "", id="call_1", type="function", name="weather"),
        piece(0, '{"city"'),
        piece(0, ': "Zürich'),
        piece(0, ' 🙂"}'),
        chat_chunk(finish="tool_calls"),
        usage_chunk(chat_usage(12, 7)),
        done=True,
    )
    reading = read("openai.chat", body)
    size = len('{"city": "Zürich 🙂"}'.encode())
    assert size == 24
    assert reading.tool_calls == (ToolCall(id="call_1", name="weather", argument_bytes=24),)
    assert (reading.finish_reason, reading.text_bytes) == ("tool_calls", 24)


def test_half_an_emoji_in_each_piece() -> None:
    """An emoji whose two halves come in two pieces takes what each half takes, and breaks nothing."""
    body = sse(
        piece(0, "", id="call_1", name="say"),
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\ud83d"}}]}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\ude42"}}]}}]}\n\n',
        chat_chunk(finish="tool_calls"),
    )
    (call,) = read("openai.chat", body).tool_calls
    assert (call.name, call.argument_bytes) == ("say", 6)


def test_parallel_calls() -> None:
    """Pieces of several calls are told apart by their index, in whatever order they come."""
    body = sse(
        piece(0, "", id="call_1", name="weather"),
        piece(1, "", id="call_2", name="weather"),
        piece(0, '{"city":'),
        piece(1, '{"city":"Bern"}'),
        piece(0, '"Rome!"}'),
        chat_chunk(finish="tool_calls"),
    )
    assert read("openai.chat", body).tool_calls == (
        ToolCall(id="call_1", name="weather", argument_bytes=16),
        ToolCall(id="call_2", name="weather", argument_bytes=15),
    )


def test_several_calls_in_one_chunk() -> None:
    """A chunk may hold pieces of several calls."""
    calls: list[Json] = [
        {"index": 0, "id": "a", "function": {"name": "weather", "arguments": "{}"}},
        {"index": 1, "id": "b", "function": {"name": "now", "arguments": ""}},
    ]
    body = sse(chat_chunk(delta={"tool_calls": calls}), chat_chunk(finish="tool_calls"))
    assert read("openai.chat", body).tool_calls == (
        ToolCall(id="a", name="weather", argument_bytes=2),
        ToolCall(id="b", name="now"),
    )


def test_calls_of_several_choices() -> None:
    """With n = 2 the same index in two choices is two calls."""
    body = sse(
        piece(0, "{}", id="a", name="weather"),
        piece(0, '{"x":1}', id="b", name="now", choice=1),
        piece(0, "  ", choice=0),
        chat_chunk(finish="tool_calls"),
        chat_chunk(finish="tool_calls", index=1),
    )
    assert read("openai.chat", body).tool_calls == (
        ToolCall(id="a", name="weather", argument_bytes=4),
        ToolCall(id="b", name="now", argument_bytes=7),
    )


def test_an_id_that_comes_late() -> None:
    """The id is taken from the first piece that has one."""
    body = sse(piece(0, "", name="weather"), piece(0, "{}", id="call_1"), piece(0, "", id=None), chat_chunk(finish="x"))
    assert read("openai.chat", body).tool_calls == (ToolCall(id="call_1", name="weather", argument_bytes=2),)


def test_name_repeated_on_every_piece() -> None:
    """A server that repeats id and name with each piece has made one call."""
    body = sse(*[piece(0, "{}", id="call_1", name="weather")] * 3, chat_chunk(finish="tool_calls"))
    assert read("openai.chat", body).tool_calls == (ToolCall(id="call_1", name="weather", argument_bytes=6),)


def test_custom_tools() -> None:
    """Custom tools have free text under ``custom``."""
    chunks: list[Json] = [
        {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "sql", "input": ""}},
        {"index": 0, "custom": {"input": "SELECT 1"}},
    ]
    body = sse(*[chat_chunk(delta={"tool_calls": [call]}) for call in chunks], chat_chunk(finish="tool_calls"))
    expected = (ToolCall(id="call_1", name="sql", argument_bytes=8),)
    assert read("openai.chat", body).tool_calls == expected
    call: Json = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    assert read("openai.chat", whole(tool_calls=[call])).tool_calls == expected


def test_legacy_function_call() -> None:
    """The legacy function_call has no id."""
    body = sse(
        chat_chunk(delta={"function_call": {"name": "weather", "arguments": ""}}),
        chat_chunk(delta={"function_call": {"arguments": '{"city":'}}),
        chat_chunk(delta={"function_call": {"arguments": '"Rome"}'}}),
        chat_chunk(finish="function_call"),
    )
    expected = (ToolCall(id=None, name="weather", argument_bytes=15),)
    assert read("openai.chat", body).tool_calls == expected
    called = {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert read("openai.chat", whole(function_call=called)).tool_calls == expected


def test_calls_of_a_whole_body() -> None:
    """In a whole body calls stand in order, whatever their index says."""
    calls: list[Json] = [
        {"index": 0, "id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in "abc"
    ]
    assert read("openai.chat", whole(tool_calls=calls)).tool_calls == tuple(
        ToolCall(id=name, name=name, argument_bytes=2) for name in "abc"
    )


def test_arguments_that_are_an_object() -> None:
    """Some servers send the arguments as an object: their length is that of compact JSON."""
    calls = [{"id": "a", "function": {"name": "weather", "arguments": {"city": "Rome"}}}]
    assert read("openai.chat", whole(tool_calls=calls)).tool_calls == (
        ToolCall(id="a", name="weather", argument_bytes=15),
    )


def test_pieces_without_a_name_are_no_call() -> None:
    """Arguments for a call that never got a name are passed over."""
    assert read("openai.chat", sse(piece(3, "{}"), chat_chunk(finish="stop"))).tool_calls == ()


def test_no_call() -> None:
    """Empty and null lists are no calls."""
    assert read("openai.chat", chat_body(chat_usage(1, 1))).tool_calls == ()
    assert read("openai.chat", whole(tool_calls=[])).tool_calls == ()
    assert read("openai.chat", whole(tool_calls=None, function_call=None)).tool_calls == ()


def test_calls_without_end() -> None:
    """A bounded number of calls is kept."""
    body = sse(*[piece(n, "{}", id=f"c{n}", name="f") for n in range(MAX_TOOL_CALLS + 10)])
    assert len(read("openai.chat", body, split=None).tool_calls) == MAX_TOOL_CALLS
