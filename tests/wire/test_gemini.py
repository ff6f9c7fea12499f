"""Gemini's generateContent, at AI Studio and Vertex, and its embeddings."""

from __future__ import annotations

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.usage import Usage
from tests.wire.making import Json, counted, dump, gemini_chunk, kinds, read, sse, tokens

USAGE = tokens(12, 7, 154, thoughtsTokenCount=135)
COUNTED = Usage(input_tokens=12, output_tokens=142, output_reasoning_tokens=135)


def test_whole_body() -> None:
    """Candidates exclude thoughts: 7 + 135 = 142 are output, and the total 154 agrees."""
    reading = read("gemini.generate", gemini_chunk("Hi", finish="STOP", usage=USAGE), provider="google")
    assert reading.usage == COUNTED
    assert (reading.response_model, reading.response_id, reading.finish_reason) == ("gemini-3-flash", "r1", "STOP")
    assert (reading.stream, reading.complete, reading.contradictions) == (False, None, ())


def test_stream() -> None:
    """Usage is on every event; the last one counts, not the sum."""
    body = sse(
        gemini_chunk("Good", usage=tokens(12, 1, 148, thoughtsTokenCount=135)),
        gemini_chunk(" day", usage=tokens(12, 4, 151, thoughtsTokenCount=135)),
        gemini_chunk(" again", usage=tokens(12, 6, 153, thoughtsTokenCount=135)),
        gemini_chunk(".", finish="STOP", usage=USAGE),
    )
    reading = read("gemini.generate", body, provider="google")
    assert reading.usage == COUNTED
    assert (reading.usage_source, reading.complete) == ("reported", True)
    assert reading.text_bytes == len(b"Good day again.")


def test_the_last_usage_wins_whole() -> None:
    """Earlier figures belong to a step: the prompt falls from 169 to 79, and thoughts that are gone are gone."""
    body = sse(
        gemini_chunk("Let", usage=tokens(169, 8, 227, thoughtsTokenCount=50, cachedContentTokenCount=100)),
        gemini_chunk(" me", usage=tokens(169, 8, 227, thoughtsTokenCount=50, cachedContentTokenCount=100)),
        gemini_chunk(".", finish="STOP", usage=tokens(79, 427)),
    )
    assert read("gemini.generate", body).usage == Usage(input_tokens=79, output_tokens=427)


def test_events_with_the_traffic_type_alone() -> None:
    """Vertex's events in between may state only the traffic type; the last event has the counts."""
    body = sse(
        gemini_chunk("Good", usage={"trafficType": "ON_DEMAND"}),
        gemini_chunk(" day", usage={"trafficType": "ON_DEMAND"}),
        gemini_chunk(".", finish="STOP", usage={**USAGE, "trafficType": "ON_DEMAND"}),
    )
    reading = read("gemini.generate", body, provider="vertex")
    assert (reading.usage, reading.service_tier) == (COUNTED, "ON_DEMAND")


def test_the_traffic_type_alone_takes_no_counts_back() -> None:
    """An event with only the traffic type after one with counts leaves the counts."""
    body = sse(gemini_chunk("Good", usage=USAGE), gemini_chunk(finish="STOP", usage={"trafficType": "ON_DEMAND"}))
    assert read("gemini.generate", body, provider="vertex").usage == COUNTED


def test_tools_put_into_the_prompt() -> None:
    """The count toolUsePromptTokenCount is outside the prompt and is input: 20 + 1000; total 1,030 = 20 + 10 + 1000."""
    usage = tokens(20, 10, 1030, toolUsePromptTokenCount=1000)
    reading = read("gemini.generate", gemini_chunk("Hi", finish="STOP", usage=usage))
    assert reading.usage == Usage(input_tokens=1020, input_tool_tokens=1000, output_tokens=10)
    assert reading.contradictions == ()


@pytest.mark.parametrize("enums", [False, True])
def test_modalities(*, enums: bool) -> None:
    """Details name a modality by text, or by its number in protobuf; the rest of the prompt is text."""
    names = {"TEXT": 1, "IMAGE": 2, "VIDEO": 3, "AUDIO": 4, "DOCUMENT": 5}

    def detail(name: str, tokens: int) -> Json:
        return {"modality": names[name] if enums else name, "tokenCount": tokens}

    usage = tokens(
        1000,
        300,
        promptTokensDetails=[
            detail("TEXT", 100),
            detail("IMAGE", 258),
            detail("AUDIO", 250),
            detail("VIDEO", 300),
            detail("DOCUMENT", 92),
        ],
        candidatesTokensDetails=[detail("TEXT", 10), detail("IMAGE", 290)],
    )
    reading = read("gemini.generate", gemini_chunk("Hi", finish="STOP", usage=usage))
    assert reading.usage == Usage(
        input_tokens=1000,
        input_image_tokens=258,
        input_audio_tokens=250,
        input_video_tokens=300,
        output_tokens=300,
        output_image_tokens=290,
    )


def test_modalities_of_what_tools_put_in() -> None:
    """Pictures that a tool put in are tool tokens and pictures: 258 of 1,020, beside 100 of the prompt's own."""
    usage = tokens(
        200,
        10,
        1030,
        toolUsePromptTokenCount=820,
        promptTokensDetails=[{"modality": "TEXT", "tokenCount": 100}, {"modality": "IMAGE", "tokenCount": 100}],
        toolUsePromptTokensDetails=[{"modality": "TEXT", "tokenCount": 562}, {"modality": "IMAGE", "tokenCount": 258}],
    )
    found = counted(read("gemini.generate", gemini_chunk("Hi", finish="STOP", usage=usage)))
    assert found == Usage(
        input_tokens=1020,
        input_tool_tokens=820,
        input_image_tokens=358,
        input_image_tool_tokens=258,
        output_tokens=10,
    )
    assert found.leaves() == {
        "input_tokens": 100,
        "input_tool_tokens": 562,
        "input_image_tokens": 100,
        "input_image_tool_tokens": 258,
        "output_tokens": 10,
    }


def test_a_modality_told_twice() -> None:
    """Details that repeat a modality are added up."""
    details = [{"modality": "IMAGE", "tokenCount": 258}, {"modality": "IMAGE", "tokenCount": 258}]
    reading = read("gemini.generate", gemini_chunk("Hi", usage=tokens(600, 5, promptTokensDetails=details)))
    assert reading.usage == Usage(input_tokens=600, input_image_tokens=516, output_tokens=5)


def test_modalities_of_the_cache() -> None:
    """Audio of the prompt includes that of the cache: 400 - 150 = 250 are audio and not cached."""
    usage = tokens(
        1000,
        5,
        cachedContentTokenCount=600,
        promptTokensDetails=[{"modality": "TEXT", "tokenCount": 600}, {"modality": "AUDIO", "tokenCount": 400}],
        cacheTokensDetails=[{"modality": "TEXT", "tokenCount": 450}, {"modality": "AUDIO", "tokenCount": 150}],
    )
    found = counted(read("gemini.generate", gemini_chunk("Hi", finish="STOP", usage=usage)))
    assert found == Usage(
        input_tokens=1000,
        cache_read_tokens=600,
        input_audio_tokens=400,
        cache_audio_read_tokens=150,
        output_tokens=5,
    )
    assert found.leaves() == {
        "input_tokens": 150,
        "cache_read_tokens": 450,
        "input_audio_tokens": 250,
        "cache_audio_read_tokens": 150,
        "output_tokens": 5,
    }


@pytest.mark.parametrize(
    ("members", "tier", "context"),
    [
        ({"serviceTier": "standard"}, "standard", ()),
        ({"serviceTier": "priority"}, "priority", (("service_tier", "priority"),)),
        ({"serviceTier": "flex"}, "flex", (("service_tier", "flex"),)),
        ({"trafficType": "ON_DEMAND"}, "ON_DEMAND", ()),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "ON_DEMAND_PRIORITY", (("service_tier", "priority"),)),
        ({"trafficType": "ON_DEMAND_FLEX"}, "ON_DEMAND_FLEX", (("service_tier", "flex"),)),
    ],
)
def test_tiers(members: Json, tier: str, context: tuple[tuple[str, str], ...]) -> None:
    """AI Studio's serviceTier and Vertex's trafficType choose the price."""
    reading = read("gemini.generate", gemini_chunk("Hi", finish="STOP", usage={**USAGE, **members}))
    assert (reading.service_tier, reading.price_context) == (tier, context)


def test_provisioned_throughput() -> None:
    """Provisioned throughput is kept as the tier."""
    usage = {**USAGE, "trafficType": "PROVISIONED_THROUGHPUT"}
    reading = read("gemini.generate", gemini_chunk("Hi", finish="STOP", usage=usage), provider="vertex")
    assert reading.service_tier == "PROVISIONED_THROUGHPUT"


def test_blocked_prompt() -> None:
    """A blocked prompt has no candidates and no counts: named, with the reason as the finish reason."""
    body: Json = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"trafficType": "ON_DEMAND"},
        "modelVersion": "gemini-3-flash",
    }
    reading = read("gemini.generate", body, provider="vertex")
    assert reading.finish_reason == "BLOCKED:PROHIBITED_CONTENT"
    assert not reading.usage
    assert kinds(reading) == [("count_absent", "input_tokens")]
    streamed = read("gemini.generate", sse(body), provider="vertex")
    assert (streamed.complete, streamed.finish_reason) == (True, "BLOCKED:PROHIBITED_CONTENT")


def test_prompt_that_is_not_counted() -> None:
    """Pictures by URI may leave promptTokenCount out: absent and named, never 0."""
    usage = {"candidatesTokenCount": 23, "thoughtsTokenCount": 67}
    reading = read("gemini.generate", sse(gemini_chunk("Hi", finish="STOP", usage=usage)))
    assert reading.usage == Usage(output_tokens=90, output_reasoning_tokens=67)
    assert kinds(reading) == [("count_absent", "input_tokens")]


def test_a_total_that_is_not_the_sum() -> None:
    """12 + 7 = 19 is not 40: the rest is named and priced as nothing."""
    reading = read("gemini.generate", gemini_chunk("Hi", finish="STOP", usage=tokens(12, 7, 40)))
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
    assert kinds(reading) == [("total_disagrees", "total_tokens")]


# ---- framing


CHUNKS = [gemini_chunk("Go{]}", usage=tokens(12, 1)), gemini_chunk('"\\', usage=tokens(12, 2))]
LAST = gemini_chunk(".", finish="STOP", usage=USAGE)


def test_sse_with_crlf() -> None:
    """As the wire has it: CRLF, no name, no ``[DONE]``."""
    reading = read("gemini.generate", sse(*CHUNKS, LAST, end=b"\r\n"), provider="google")
    assert (reading.usage, reading.complete, reading.fault) == (COUNTED, True, None)


def test_array() -> None:
    """Without alt=sse the stream is one array, pretty-printed, its elements coming one by one."""
    body = b"[" + b"\n,\r\n".join(dump(chunk).replace(b",", b",\n  ") for chunk in (*CHUNKS, LAST)) + b"\n]\n"
    reading = read("gemini.generate", body, provider="google", content_type="application/json", split=1)
    assert (reading.usage, reading.stream, reading.complete) == (COUNTED, True, True)


def test_whole_answer_as_an_event() -> None:
    """A generateContent with alt=sse answers with one event."""
    reading = read("gemini.generate", sse(LAST, end=b"\r\n"), provider="google")
    assert (reading.usage, reading.stream, reading.complete) == (COUNTED, True, True)


def test_bare_error_in_a_stream() -> None:
    """A stream that fails ends with a pretty-printed error that is no event; the figures so far are running ones."""
    error = b'{\n  "error": {\n    "code": 503,\n    "message": "Overloaded",\n    "status": "UNAVAILABLE"\n  }\n}\n'
    body = sse(gemini_chunk("Hi", usage=tokens(12, 1)), end=b"\r\n") + error
    reading = read("gemini.generate", body, provider="google")
    assert reading.error == ProviderError(type="UNAVAILABLE", code="503", message="Overloaded")
    assert (reading.complete, reading.fault) == (False, None)


def test_error_in_an_array() -> None:
    """The same in an array: an element that is an error."""
    error: Json = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}
    body = b"[" + dump(gemini_chunk("Hi", usage=tokens(12, 1))) + b",\n" + dump(error) + b"]"
    reading = read("gemini.generate", body, provider="google", content_type="application/json")
    assert reading.error == ProviderError(type="UNAVAILABLE", code="503", message="Overloaded")


@pytest.mark.parametrize("listed", [False, True])
def test_http_error(*, listed: bool) -> None:
    """An HTTP error, bare or in an array of one."""
    error: Json = {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}
    reading = read("gemini.generate", dump([error] if listed else error), status=429, provider="google")
    assert reading.error == ProviderError(type="RESOURCE_EXHAUSTED", code="429", message="Quota")
    assert reading.usage is None


# ---- tools and fees


def test_function_calls() -> None:
    """A call comes whole in one part; several stand side by side."""
    parts: list[Json] = [
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "abc"},
        {"functionCall": {"id": "call_2", "name": "now", "args": {}}},
    ]
    chunk: Json = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": USAGE}
    assert read("gemini.generate", sse(chunk)).tool_calls == (
        ToolCall(id=None, name="weather", argument_bytes=len('{"city":"Rome"}')),
        ToolCall(id="call_2", name="now", argument_bytes=2),
    )


def test_arguments_in_parts() -> None:
    """Since Gemini 3 arguments may follow in parts without a name: one call."""

    def chunk(call: Json) -> Json:
        return {"candidates": [{"content": {"parts": [{"functionCall": call}]}}]}

    body = sse(
        chunk({"name": "weather", "id": "c1", "willContinue": True}),
        chunk({"partialArgs": [{"jsonPath": "$.city", "stringValue": "Ro"}], "willContinue": True}),
        chunk({"partialArgs": [{"jsonPath": "$.city", "stringValue": "me"}]}),
        chunk({"name": "now", "id": "c2", "args": {}}),
        LAST,
    )
    calls = read("gemini.generate", body).tool_calls
    assert [(call.id, call.name) for call in calls] == [("c1", "weather"), ("c2", "now")]


@pytest.mark.parametrize(
    ("model", "searches"), [("gemini-2.5-pro", 1), ("models/gemini-2.0-flash", 1), ("gemini-3-flash", 3)]
)
def test_grounding(model: str, searches: int) -> None:
    """Gemini 2 charges a grounded prompt, since Gemini 3 each query."""
    grounding: Json = {"webSearchQueries": ["a", "b", "c"], "groundingChunks": []}
    candidate: Json = {"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP", "groundingMetadata": grounding}
    body: Json = {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": model}
    reading = read("gemini.generate", body)
    assert reading.usage == COUNTED + Usage(web_searches=searches)


def test_grounding_that_is_repeated() -> None:
    """Queries that every event repeats are counted once."""
    grounding: Json = {"webSearchQueries": ["a", "b"]}
    candidate: Json = {"content": {"parts": [{"text": "Hi"}]}, "groundingMetadata": grounding, "index": 0}
    chunk: Json = {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-3-pro"}
    last: Json = {**chunk, "candidates": [{**candidate, "finishReason": "STOP"}]}
    assert read("gemini.generate", sse(chunk, chunk, last)).usage == COUNTED + Usage(web_searches=2)


def test_finish_reason_by_number() -> None:
    """Clients of protobuf write the finish reason's number."""
    assert read("gemini.generate", gemini_chunk("Hi", finish=1, usage=USAGE)).finish_reason == "1"


def test_model_that_vertex_leaves_out() -> None:
    """Without modelVersion the answer names no model."""
    body: Json = {"candidates": [], "usageMetadata": USAGE}
    assert read("gemini.generate", body, provider="vertex", model="gemini-3-flash").response_model is None


# ---- embeddings


def test_embedding_without_usage() -> None:
    """AI Studio's embeddings often state nothing."""
    reading = read("gemini.embed", {"embedding": {"values": [1, 2]}}, provider="google")
    assert (reading.usage, reading.usage_source) == (None, "unknown")


def test_embedding_with_usage() -> None:
    """Newer embeddings count the prompt; the details' name is singular here."""
    details = [{"modality": "TEXT", "tokenCount": 4}, {"modality": "IMAGE", "tokenCount": 258}]
    body: Json = {"embedding": {}, "usageMetadata": {"promptTokenCount": 262, "promptTokenDetails": details}}
    assert read("gemini.embed", body).usage == Usage(input_tokens=262, input_image_tokens=258)
