"""Who a call is attributed to: what the key is bound to, over what headers say, over the body, over the trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from taximeter.event import Scope
from taximeter.gateway.bodies import Asked

HEADER: Final = b"x-taximeter-"
"""What the names of headers that are ours begin with. None of them travels."""

_FIELDS: Final = ("project", "session", "turn", "user", "operation")
_LONGEST: Final = 256
_MOST_TAGS: Final = 32
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_METADATA: Final = {name: field for field in _FIELDS for name in (field, f"{field}_id")}
"""Names in a body's ``metadata`` that mean a field of the scope; what else is there becomes tags."""


def of_headers(bound: Scope, said: Mapping[bytes, bytes]) -> Scope:
    """The scope that a key is bound to, completed by ``x-taximeter-*`` headers.

    Args:
        bound: what wins.
        said: the headers by name, in lower case.
    """
    if not said:
        return bound
    given = {field: _text(said.get(HEADER + field.encode(), b"")) for field in _FIELDS}
    return _filled(bound, given, _tags(said.get(HEADER + b"tags", b"")))


def of_body(scope: Scope, asked: Asked) -> Scope:
    """A scope completed by the ``user`` and ``metadata`` of a body."""
    if asked.user is None and not asked.metadata:
        return scope
    given: dict[str, str | None] = {}
    tags: dict[str, str] = {}
    for name, value in asked.metadata[:_MOST_TAGS]:
        text = value.encode("utf-8", "replace").decode()[:_LONGEST]  # half an emoji is no text that can be kept
        if name in _METADATA:
            given.setdefault(_METADATA[name], text or None)
        else:
            tags[name.encode("utf-8", "replace").decode()[:_LONGEST]] = text
    if asked.user:
        given["user"] = asked.user.encode("utf-8", "replace").decode()[:_LONGEST]
    return _filled(scope, given, tags)


def of_trace(scope: Scope, traceparent: bytes | None) -> Scope:
    """A scope whose turn, where nobody named one, is the trace (https://www.w3.org/TR/trace-context/)."""
    if traceparent is None or scope.turn is not None:
        return scope
    found = _TRACE.fullmatch(traceparent.strip())
    if found is None or not found[1].strip(b"0"):
        return scope
    return _filled(scope, {"turn": found[1].decode()}, {})


def _filled(scope: Scope, given: Mapping[str, str | None], tags: Mapping[str, str]) -> Scope:
    """What the scope leaves open is filled."""
    all_tags = {**tags, **dict(scope.tags)} if tags else None
    return Scope(
        project=scope.project or given.get("project"),
        session=scope.session or given.get("session"),
        turn=scope.turn or given.get("turn"),
        user=scope.user or given.get("user"),
        operation=scope.operation or given.get("operation"),
        tags=scope.tags if all_tags is None else tuple(all_tags.items()),
    )


def _text(value: bytes) -> str | None:
    return _decoded(value).strip()[:_LONGEST] or None


def _tags(value: bytes) -> dict[str, str]:
    """``name=value, name=value``; a comma or an equals sign within is percent-encoded; other words are passed by."""
    found: dict[str, str] = {}
    for pair in _decoded(value).split(",")[:_MOST_TAGS]:
        name, sign, content = pair.partition("=")
        if sign and name.strip():
            found[unquote(name.strip())[:_LONGEST]] = unquote(content.strip())[:_LONGEST]
    return found


def _decoded(value: bytes) -> str:
    """A header's value: UTF-8, or what else it may be."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
