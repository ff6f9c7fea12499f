"""Vertex: calls carry an OAuth token, which google-auth gets and a thread renews before it expires.

https://cloud.google.com/docs/authentication/application-default-credentials (read 2026-11).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from taximeter.gateway.plan import Header
from taximeter.gateway.signing.fresh import Fresh, Held

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_AHEAD_S: Final = 300.0
"""How long before its end a token is renewed; of one that lives shorter than four times that, a quarter."""


class VertexSigner:
    """Puts a token on calls; see :data:`taximeter.gateway.plan.Sign`.

    Args:
        variables: the environment, and what the secrets file adds.

    Attributes:
        identity: equal for signers that sign alike.
        fresh: the token.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._file = variables.get(_FILE) or None
        self.identity: tuple[object, ...] = ("vertex", self._file)
        self.fresh: Fresh[bytes] = Fresh("credentials for Vertex", self._fetch)
        self._credentials: Any = None

    def __call__(self, method: bytes, target: bytes, headers: list[Header], body: bytes) -> list[Header]:
        """The headers with the token among them.

        Raises:
            SigningError: when there is none.
        """
        del method, target, body
        return [*headers, (b"authorization", self.fresh.get())]

    def _fetch(self) -> Held[bytes]:
        if self._credentials is None:
            self._credentials = self._find()
        transport: Any = import_module("google.auth.transport.requests")
        self._credentials.refresh(transport.Request())
        until: datetime | None = self._credentials.expiry  # in UTC, and without saying so
        value = b"Bearer " + str(self._credentials.token).encode("ascii")
        if until is None:
            return Held(value, None, _AHEAD_S)
        end = until.replace(tzinfo=UTC).timestamp()
        left = end - time.time()
        return Held(value, end, max(0.0, left - min(_AHEAD_S, left / 4)))

    def _find(self) -> Any:  # noqa: ANN401 - google-auth has no types
        auth: Any = import_module("google.auth")
        if self._file is not None:
            return auth.load_credentials_from_file(self._file, scopes=_SCOPES)[0]
        return auth.default(scopes=_SCOPES)[0]


def has_google_credentials(variables: Mapping[str, str]) -> bool:
    """Whether something says where credentials are; nothing is opened and nobody asked."""
    if variables.get(_FILE):
        return True
    home = variables.get("HOME")
    place = variables.get("CLOUDSDK_CONFIG") or (None if home is None else str(Path(home) / ".config" / "gcloud"))
    return place is not None and (Path(place) / "application_default_credentials.json").is_file()
