"""The fixture that users have is the one that is used here."""

from taximeter.testing import simulator as simulator  # noqa: PLC0414 - handed on
