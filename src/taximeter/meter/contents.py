"""What was said in a call, where the user wants it kept: gone over by the user's own function, or not kept at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from taximeter.event import Content

What = Literal["user_message", "answer", "tool_arguments"]

Redact = Callable[[What, str], str | None]
"""Goes over a text before it is written anywhere: is given what it is, and the text; gives what is kept of it, or
``None`` for nothing."""


def gone_over(content: Content, redact: Redact) -> Content:
    """What is kept of a content.

    Raises:
        Exception: what the user's function raised. Nothing may be kept then.
    """

    def kept(what: What, text: str | None) -> str | None:
        return None if text is None else redact(what, text)

    return Content(
        user_message=kept("user_message", content.user_message),
        answer=kept("answer", content.answer),
        tool_arguments=tuple([kept("tool_arguments", each) or "" for each in content.tool_arguments]),
    )
