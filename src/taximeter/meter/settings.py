"""How the meter of this process behaves: from the environment, or as the application says before its first call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from taximeter.errors import ConfigError

Capture = Literal["none", "tool_arguments", "full"]

_NO: Final = ("0", "false", "no", "off")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, each with the environment variable that sets it.

    Attributes:
        enabled: ``TAXIMETER_ENABLED``: with 0 nothing is metered, and hooks cost one look.
        store: ``TAXIMETER_STORE``: where events are kept; ``None``: a file in the user's data folder.
        journal: ``TAXIMETER_JOURNAL``: the folder of the journals; ``None``: beside the store's file.
        durability: ``TAXIMETER_DURABILITY``: ``process``: what was journaled survives the death of the process;
            ``fsync``: of the machine too.
        on_meter_failure: ``TAXIMETER_ON_METER_FAILURE``: whether a call goes on (``allow``) or is refused (``refuse``)
            when it cannot be journaled.
        inject_usage: ``TAXIMETER_INJECT_USAGE``: whether a stream that did not ask for its usage is made to, where
            that is both needed and accepted (``auto``), or ``never``.
        rate_cards: ``TAXIMETER_RATE_CARDS``: a TOML file of the user's own prices.
        capture: ``TAXIMETER_CAPTURE``: what of a call's contents is kept with its event: ``none``, ``tool_arguments``,
            or ``full``: the user's message and the answer too.
        alert_webhook: ``TAXIMETER_ALERT_WEBHOOK``: is told by a POST of JSON when the meter fails.
    """

    enabled: bool = True
    store: str | None = None
    journal: Path | None = None
    durability: Literal["process", "fsync"] = "process"
    on_meter_failure: Literal["allow", "refuse"] = "allow"
    inject_usage: Literal["auto", "never"] = "auto"
    rate_cards: Path | None = None
    capture: Capture = "none"
    alert_webhook: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **said: Any) -> Settings:  # noqa: ANN401 - checked
        """The environment's settings, and over them what is said in words.

        Raises:
            ConfigError: for a value that a setting cannot have; names the setting and what it takes.
        """
        environment = os.environ if environment is None else environment
        found: dict[str, Any] = {}
        for field in msgspec.structs.fields(cls):
            variable = f"TAXIMETER_{field.name.upper()}"
            text = environment.get(variable, "").strip()
            if text:
                found[field.name] = text.lower() not in _NO if field.name == "enabled" else text
        found |= {name: str(value) if isinstance(value, Path) else value for name, value in said.items()}
        try:
            return msgspec.convert(found, cls, dec_hook=_path)
        except msgspec.ValidationError as error:
            msg = f"settings: {error}"
            raise ConfigError(msg) from error


def _path(kind: type, value: object) -> object:
    return Path(value).expanduser() if kind is Path and isinstance(value, str) else value
