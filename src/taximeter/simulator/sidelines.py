"""What a provider answers beside the calls that are metered: models, token counts; and the simulator's own pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

import msgspec

from taximeter.simulator.ask import Ask
from taximeter.simulator.books import Books
from taximeter.simulator.formats.anthropic import anthropic_ask
from taximeter.simulator.formats.gemini import gemini_ask
from taximeter.simulator.reply import CREATED, CREATED_TEXT
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import obj

MODELS: Final = ("gpt-5-mini", "o4-mini", "claude-haiku-4-5", "gemini-2.5-flash", "simulated", "simulated-reason")
"""The models in the lists; any other name is answered too."""


def sideline(  # noqa: PLR0913, PLR0917 - a request, and the books
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, books: Books
) -> tuple[int, object]:
    """Status and JSON of an answer."""
    path = path.rstrip("/")
    if "/_simulator/" in path:
        return _own(method, path.rpartition("/_simulator/")[2], query, books)
    if method == "GET" and path.endswith(("/models", "/api/tags")):
        return 200, _models(path, headers)
    if method == "GET" and path.rpartition("/")[0].endswith("/models"):
        return 200, _model(path.rpartition("/")[2])
    if method == "POST" and path.endswith(("/count_tokens", ":countTokens")):
        return _count(path, body)
    return 404, _missing(f"{method} {path} is no call that the simulator knows")


def _missing(message: str) -> Json:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "unknown_url"}}


def _own(method: str, page: str, query: str, books: Books) -> tuple[int, object]:
    if page == "served" and method == "GET":
        after = parse_qs(query).get("after", ["0"])[0]
        return 200, books.calls(int(after) if after.isascii() and after.isdigit() else 0)
    if page == "served" and method == "DELETE":
        books.forget()
        return 200, {"forgotten": True}
    if page == "totals" and method == "GET":
        return 200, books.totals()
    return 404, _missing(f"there is no {method} {page}; there are GET and DELETE served, GET totals")


def _model(name: str) -> Json:
    shared = {"id": name, "display_name": name, "created": CREATED, "created_at": CREATED_TEXT}
    return {**shared, "object": "model", "type": "model", "owned_by": "simulator", "name": f"models/{name}"}


def _models(path: str, headers: Mapping[str, str]) -> Json:
    models = [_model(name) for name in MODELS]
    if path.endswith("/api/tags"):
        return {"models": [{"name": name, "model": name, "modified_at": CREATED_TEXT, "size": 0} for name in MODELS]}
    if "anthropic-version" in headers:
        return {"data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
    return {"object": "list", "data": models, "models": models}  # Google and Cohere look for ``models``


def _count(path: str, body: bytes) -> tuple[int, Json]:
    try:
        asked = obj(msgspec.json.decode(body))
    except msgspec.DecodeError as error:
        return 400, _missing(f"the body is no JSON: {error}")
    if path.endswith(":countTokens"):
        return 200, {"totalTokens": _tokens(gemini_ask(obj(asked.get("generateContentRequest")) or asked))}
    return 200, {"input_tokens": _tokens(anthropic_ask(asked))}


def _tokens(ask: Ask) -> int:
    return sum(turn.tokens for turn in ask.turns) + ask.tools_tokens
