"""What every wire format can do, as the provider's side of it."""

from __future__ import annotations

from taximeter.simulator.answer import Answer
from taximeter.simulator.ask import Ask, Received
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import Reply
from taximeter.wire.loose import JsonObject as Json


class Speaker:
    """Speaks one wire format: understands its requests, and words an answer as its provider would.

    What it states in a :class:`Reply` as usage is the answer's own counts, by our units.
    """

    def ask(self, call: Received, memory: Memory) -> Ask:
        """What the request asks for."""
        raise NotImplementedError

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """The answer, whole or as a stream."""
        raise NotImplementedError

    def refusal(self, status: int, message: str) -> Json:
        """The body of an HTTP status that says no."""
        raise NotImplementedError

    def poll(self, call: Received, memory: Memory) -> Reply | None:
        """The answer to a GET for a response that was stored; ``None`` when there is none of that id."""
        del call, memory
        return None


ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
"""The kinds of errors that OpenAI and Anthropic name alike, by HTTP status."""


def error_type(status: int) -> str:
    """How OpenAI and Anthropic call an error of this status."""
    return ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004 - HTTP's own border


BROKEN = "the simulator was asked to fail here"
"""What every error in the midst of a stream says."""
