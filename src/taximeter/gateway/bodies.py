"""What a request's body says to the policy: the model, and who it is for. And the model's name, put in anew."""

from __future__ import annotations

import json
import re
from operator import itemgetter
from typing import Any, Final

import msgspec

from taximeter.wire.loose import arr, obj

_FORM: Final = re.compile(
    rb'multipart/form-data;(?:.*;)?\s*boundary="?([A-Za-z0-9\'()+_,./:=?-]{1,70})"?\s*(?:;.*)?', re.IGNORECASE
)
_PART: Final = re.compile(
    rb'\r\ncontent-disposition: form-data; name="([A-Za-z0-9_.\[\]-]+)"(?:; filename="[^"\\\r\n]*")?'
    rb"(?:\r\ncontent-type: [!-~ ]*)?\r\n\r\n(.*)",
    re.IGNORECASE | re.DOTALL,
)


class Asked(msgspec.Struct, frozen=True):
    """What a body asks for.

    Attributes:
        models: every model that it names; the first is the one asked for, others may take its place.
        user: whom the call is for, in the caller's own words.
        metadata: what the caller notes with the call: short texts only.
    """

    models: tuple[str, ...] = ()
    user: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def model(self) -> str | None:
        """The model asked for."""
        return self.models[0] if self.models else None


_NOTHING: Final = Asked()


class _Body(msgspec.Struct):
    model: Any = None
    models: Any = None
    user: Any = None
    safety_identifier: Any = None
    metadata: Any = None


class _ModelOnly(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Body).decode
_decode_model = msgspec.json.Decoder(_ModelOnly).decode


def read_asked(body: bytes | None) -> Asked:
    """What a JSON body says; nothing, where it is none."""
    if not body:
        return _NOTHING
    try:
        found = _decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _NOTHING
    models = (found.model, *arr(found.models))
    metadata = obj(found.metadata)
    user = found.user or found.safety_identifier or metadata.get("user_id")
    return Asked(
        models=tuple(model for model in models if isinstance(model, str)),
        user=user if isinstance(user, str) else None,
        metadata=tuple((name, value) for name, value in metadata.items() if isinstance(value, str)),
    )


def sure_models(body: bytes | None, content_type: bytes) -> tuple[str, ...]:
    """Every model that a body names, for who must be sure; none, where that can be read in more ways than one.

    A provider may read a body differently from us: take the first of two members of one name where we take the last, or
    look past what is no JSON. Such a body names no model.

    Args:
        body: the whole body.
        content_type: as sent; decides only whether the body is a form.
    """
    if not body:
        return ()
    form = _FORM.fullmatch(content_type.strip())
    return _models_of_json(body) if form is None else _models_of_form(body, form[1])


def _models_of_json(body: bytes) -> tuple[str, ...]:
    try:
        found = json.loads(body.decode(), object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(found, _Members):
        return ()
    named = [(name, value) for name, value in found if name.lower() in _MODELS]
    once = len({name.lower() for name, _ in named}) == len(named)
    if not once or any(name not in _MODELS for name, _ in named):
        return ()
    models: list[Any] = []
    for _, value in sorted(named, key=itemgetter(0)):  # "model" before "models"
        models += value if type(value) is list else [value]
    return tuple(models) if all(isinstance(model, str) for model in models) else ()


_MODELS: Final = frozenset({"model", "models"})


class _Members(list[tuple[str, Any]]):
    """A JSON object's members, of which two may have one name."""


def _models_of_form(body: bytes, boundary: bytes) -> tuple[str, ...]:
    """The model that a form names once, if every part has the plain head that SDKs write; else none."""
    start, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if start or not parts or not parts[-1].startswith(b"--") or body.count(b"--" + boundary) != len(parts):
        return ()
    fields = [_PART.fullmatch(part) for part in parts[:-1]]
    models = [field[2] for field in fields if field is not None and field[1].lower() == b"model"]
    if None in fields or len(models) != 1 or not models[0].isascii():
        return ()
    return (models[0].decode(),)


_MEMBER: Final = re.compile(rb'"model"\s*:\s*')


def with_model(body: bytes, name: bytes) -> bytes | None:
    """The body with another model, every other byte as it was; ``None`` where it names none that can be told.

    Args:
        body: a JSON object.
        name: the text of a JSON string, without its quotation marks.
    """
    try:
        value = bytes(_decode_model(body).model)
    except (msgspec.DecodeError, RecursionError):
        return None
    wanted = b'"' + name + b'"'
    for member in _MEMBER.finditer(body):
        if value and body.startswith(value, member.end()):
            changed = b"".join((body[: member.end()], wanted, body[member.end() + len(value) :]))
            # the same words may stand deeper inside too: only at the top do they change what is asked for
            if bytes(_decode_model(changed).model) == wanted:
                return changed
    return None
