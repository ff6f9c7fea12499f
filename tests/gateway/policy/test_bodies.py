"""What bodies say, to who wants to know and to who must be sure; and another model put into one."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from taximeter.gateway.bodies import read_asked, sure_models, with_model

JSON = b"application/json"


def test_model_user_and_metadata_are_read() -> None:
    """OpenAI's ``user`` or what took its place, Anthropic's ``metadata.user_id``, and texts of the metadata."""
    asked = read_asked(b'{"model":"m","models":["n",3],"user":"u","metadata":{"a":"b","n":1},"messages":[]}')
    assert (asked.models, asked.user, asked.metadata) == (("m", "n"), "u", (("a", "b"),))
    assert read_asked(b'{"safety_identifier":"s"}').user == "s"
    assert read_asked(b'{"metadata":{"user_id":"x"}}').user == "x"


@pytest.mark.parametrize("body", [None, b"", b"[]", b"{", b"x", b'{"model":3,"user":{},"metadata":[]}', b"[" * 100_000])
def test_what_is_no_such_body_says_nothing(body: bytes | None) -> None:
    """Nothing is raised for what a client may send."""
    asked = read_asked(body)
    assert (asked.model, asked.user, asked.metadata) == (None, None, ())


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"model":"a"}', ("a",)),
        (b'{"models":["b"],"model":"a"}', ("a", "b")),
        (b'{"model":"a","messages":[{"model":"z"}]}', ("a",)),
        (b'{"model":"a","model":"b"}', ()),
        (b'{"model":"a","mod\\u0065l":"b"}', ()),
        (b'{"model":"a","Model":"b"}', ()),
        (b'{"Model":"a"}', ()),
        (b'{"model":["a"]}', ("a",)),
        (b'{"model":null}', ()),
        (b'{"model":{"a":"b"}}', ()),
        (b'{"model":"a","models":["b",{"c":1}]}', ()),
        (b'\xef\xbb\xbf{"model":"a"}', ()),
        ('{"model":"a"}'.encode("utf-16"), ()),
        (b'{"model":"a"} {"model":"b"}', ()),
        (b'["model","a"]', ()),
        (b"model=a", ()),
        (b"[" * 100_000, ()),
        (b"", ()),
    ],
)
def test_who_must_be_sure_takes_no_body_that_reads_two_ways(body: bytes, models: tuple[str, ...]) -> None:
    """Two members of one name, in whatever spelling, another encoding, or no JSON: no model."""
    assert sure_models(body, JSON) == models


def _form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


_MODEL = b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1'
_FILE = (
    b'Content-Disposition: form-data; name="file"; filename="model.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\nRIFF\r\n\x00\xff"
)


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (_form(_MODEL, _FILE), ("whisper-1",)),
        (_form(_FILE, _MODEL), ("whisper-1",)),
        (_form(_FILE), ()),
        (_form(_MODEL, _MODEL), ()),
        (_form(_MODEL, _MODEL.replace(b'"model"', b'"Model"')), ()),
        (_form(_MODEL, _MODEL.replace(b'name="model"', b"name=model")), ()),
        (_form(_MODEL, _MODEL.replace(b'name="model"', b"name*=utf-8''model")), ()),
        (_form(_MODEL, _FILE + b"\n--b\n" + _MODEL), ()),
        (_form(_MODEL, end=b""), ()),
        (b"preamble\r\n" + _form(_MODEL), ()),
        (_form(_MODEL.replace(b"whisper-1", b"whisp\xc3\xa9r")), ()),
    ],
)
def test_a_form_names_its_model_once_and_plainly(body: bytes, models: tuple[str, ...]) -> None:
    """As SDKs write it; every other form names none."""
    assert sure_models(body, b"multipart/form-data; boundary=b") == models
    assert sure_models(body, b'Multipart/Form-Data; boundary="b"') == models


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"model":"groq/a","x":1}', b'{"model":"a","x":1}'),
        (b'{ "model" :\n "groq/a" , "x":1.0e0}', b'{ "model" :\n "a" , "x":1.0e0}'),
        (b'{"messages":[{"model":"groq/a"}],"model":"groq/a"}', b'{"messages":[{"model":"groq/a"}],"model":"a"}'),
        (b'{"model":"groq\\/a"}', b'{"model":"a"}'),
        (b'{"x":1}', None),
        (b"nothing", None),
    ],
)
def test_another_model_changes_no_other_byte(body: bytes, changed: bytes | None) -> None:
    """The member at the top is changed, and not one that only looks like it."""
    assert with_model(body, b"a") == changed


_TEXT = st.text(max_size=8)


@given(
    st.dictionaries(
        _TEXT, st.recursive(st.none() | _TEXT | st.integers(), lambda x: st.lists(x) | st.dictionaries(_TEXT, x))
    ),
    _TEXT,
    _TEXT,
)
def test_any_body_with_another_model_reads_the_same(members: dict[str, object], before: str, after: str) -> None:
    """What is read of it differs in the model alone."""
    body = json.dumps({**members, "model": before, "z": {"model": before}}).encode()
    changed = with_model(body, json.dumps(after)[1:-1].encode())
    assert changed is not None
    assert json.loads(changed) == {**json.loads(body), "model": after}
