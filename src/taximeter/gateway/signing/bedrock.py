"""Bedrock: calls are signed with SigV4 by botocore, with the credentials that it finds.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from taximeter.gateway.plan import Header
from taximeter.gateway.signing.fresh import Fresh, Held

_SERVICE: Final = "bedrock"
_EVERY_S: Final = 60.0
"""How often botocore is asked whether its credentials are fresh; it renews them 15 minutes before they expire."""

_NAMING: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
)
_FILES: Final = {"credentials_file": "AWS_SHARED_CREDENTIALS_FILE", "config_file": "AWS_CONFIG_FILE"}
"""As botocore calls them; by itself it looks at the environment of the process alone."""

_METADATA: Final = "AWS_EC2_METADATA_DISABLED"
"""EC2's own server is asked for credentials only where this is said to be ``false``: elsewhere asking takes long."""

_SIGNED: Final = (b"content-type", b"host")
_AMAZON: Final = b"x-amz"


class BedrockSigner:
    """Signs calls; see :data:`taximeter.gateway.plan.Sign`.

    Args:
        region: that is called.
        variables: the environment, and what the secrets file adds.

    Attributes:
        identity: equal for signers that sign alike.
        fresh: the credentials.
    """

    def __init__(self, region: str, variables: Mapping[str, str]) -> None:
        told = tuple((name, variables[name]) for name in (*_NAMING, _METADATA) if variables.get(name))
        self.identity: tuple[object, ...] = ("bedrock", region, told)
        self.fresh: Fresh[Any] = Fresh("credentials for Bedrock", self._fetch)
        self._region = region
        self._variables = dict(told)
        self._credentials: Any = None

    def __call__(self, method: bytes, target: bytes, headers: list[Header], body: bytes) -> list[Header]:
        """The headers with a signature among them.

        Raises:
            SigningError: when there are no credentials.
        """
        credentials = self.fresh.get()
        auth: Any = import_module("botocore.auth")
        requests: Any = import_module("botocore.awsrequest")
        ours = [(name, value) for name, value in headers if _is_signed(name.lower())]
        host = next(value for name, value in ours if name.lower() == b"host")
        request = requests.AWSRequest(
            method=method.decode("ascii"),
            url=f"https://{host.decode('latin-1')}{target.decode('latin-1')}",
            data=body,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in ours},
        )
        auth.SigV4Auth(credentials, _SERVICE, self._region).add_auth(request)
        before = {name.lower() for name, _ in headers}
        added = [(name.encode("latin-1"), str(value).encode("latin-1")) for name, value in request.headers.items()]
        return [*headers, *((name, value) for name, value in added if name.lower() not in before)]

    def _fetch(self) -> Held[Any]:
        if self._credentials is None:
            self._credentials = self._find()
        return Held(self._credentials.get_frozen_credentials(), until=None, again_s=_EVERY_S)

    def _find(self) -> Any:  # noqa: ANN401 - botocore has no types
        """The credentials that botocore finds; those that the variables hold come first, as they do there."""
        said = self._variables
        if "AWS_ACCESS_KEY_ID" in said and "AWS_SECRET_ACCESS_KEY" in said:
            kind: Any = import_module("botocore.credentials")
            return kind.Credentials(
                said["AWS_ACCESS_KEY_ID"], said["AWS_SECRET_ACCESS_KEY"], said.get("AWS_SESSION_TOKEN")
            )
        sessions: Any = import_module("botocore.session")
        session = sessions.Session(profile=said.get("AWS_PROFILE"))
        for name, variable in _FILES.items():
            if variable in said:
                session.set_config_variable(name, said[variable])
        if said.get(_METADATA, "").lower() != "false":
            session.get_component("credential_provider").remove("iam-role")
        found = session.get_credentials()
        if found is None:
            msg = "botocore finds none"
            raise LookupError(msg)
        return found


def has_aws_credentials(variables: Mapping[str, str]) -> bool:
    """Whether something says where credentials are; nothing is opened and nobody asked."""
    if any(variables.get(name) for name in _NAMING) or variables.get(_METADATA, "").lower() == "false":
        return True
    home = variables.get("HOME")
    return home is not None and (Path(home) / ".aws" / "credentials").is_file()


def _is_signed(name: bytes) -> bool:
    """Whether a header is covered by the signature: what Amazon wants to be, and nothing that a proxy may change."""
    return name in _SIGNED or name.startswith(_AMAZON)
