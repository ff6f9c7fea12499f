"""The providers' SDKs raise for our errors what they raise for their own."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from taximeter.gateway.faults import fault, fault_headers
from taximeter.gateway.plan import Family

MESSAGE = "no, and this is why"


class _Refuses(BaseHTTPRequestHandler):
    """Answers every call with one error of ours."""

    protocol_version = "HTTP/1.1"
    family: ClassVar[Family]
    status: ClassVar[int]

    def do_POST(self) -> None:
        """Reads the request and says no."""
        self.rfile.read(int(self.headers.get("content-length", "0")))
        status, body = fault(self.family, self.status, "some_code", MESSAGE)
        self.send_response(status)
        for name, value in (*fault_headers(self.family, status), (b"content-type", b"application/json")):
            self.send_header(name.decode(), value.decode())
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
        """Says nothing."""


@contextmanager
def refusing(family: Family, status: int) -> Generator[str]:
    """A server on loopback that refuses everything; its URL."""
    handler = type("Refuses", (_Refuses,), {"family": family, "status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _openai(url: str) -> object:
    import openai  # noqa: PLC0415 - may be missing

    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])


def _anthropic(url: str) -> object:
    import anthropic  # noqa: PLC0415 - may be missing

    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        return client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}])


def _gemini(url: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the SDK's own imports say
        from google import genai  # noqa: PLC0415 - may be missing
        from google.genai import types  # noqa: PLC0415 - as above

    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=url))
    try:
        return client.models.generate_content(model="gemini-3", contents="hi")
    finally:
        client.close()


def _bedrock(url: str) -> object:
    import boto3  # noqa: PLC0415 - may be missing
    from botocore.config import Config  # noqa: PLC0415 - as above

    once = Config(retries={"total_max_attempts": 1})
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=once,
    )
    try:
        return client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "hi"}]}])
    finally:
        client.close()


def _raised(family: Family, status: int, ask: Callable[[str], object]) -> Any:
    with refusing(family, status) as url, pytest.raises(Exception, match=MESSAGE) as caught:
        ask(url)
    return caught.value


@pytest.mark.needs("openai")
@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (413, "APIStatusError"),
        (429, "RateLimitError"),
        (502, "InternalServerError"),
    ],
)
def test_openais_sdk(status: int, name: str) -> None:
    """Its class by the status, its code and its type from the body."""
    error = _raised("openai", status, _openai)
    assert type(error).__name__ == name
    assert (error.status_code, error.code) == (status, "some_code")
    assert error.type is not None


@pytest.mark.needs("anthropic")
@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "BadRequestError", "invalid_request_error"),
        (401, "AuthenticationError", "authentication_error"),
        (403, "PermissionDeniedError", "permission_error"),
        (404, "NotFoundError", "not_found_error"),
        (413, "APIStatusError", "request_too_large"),
        (429, "RateLimitError", "rate_limit_error"),
        (502, "InternalServerError", "api_error"),
        (504, "APIStatusError", "timeout_error"),
    ],
)
def test_anthropics_sdk(status: int, name: str, kind: str) -> None:
    """Its class, or one that it is derived from, by the status; its type from the body."""
    error = _raised("anthropic", status, _anthropic)
    assert name in {kind.__name__ for kind in type(error).__mro__}
    assert error.status_code == status
    assert error.body["error"]["type"] == kind


@pytest.mark.needs("google-genai")
@pytest.mark.parametrize(
    ("status", "name", "said"),
    [
        (400, "ClientError", "INVALID_ARGUMENT"),
        (401, "ClientError", "UNAUTHENTICATED"),
        (403, "ClientError", "PERMISSION_DENIED"),
        (404, "ClientError", "NOT_FOUND"),
        (502, "ServerError", "UNAVAILABLE"),
    ],
)
def test_googles_sdk(status: int, name: str, said: str) -> None:
    """Its class by the status; status, code and message from the body."""
    error = _raised("gemini", status, _gemini)
    assert type(error).__name__ == name
    assert (error.code, error.status, error.message) == (status, said, MESSAGE)


@pytest.mark.needs("boto3")
@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (429, "ThrottlingException"),
        (502, "ServiceUnavailableException"),
    ],
)
def test_boto3(status: int, name: str) -> None:
    """The exception that the service's model names."""
    error = _raised("bedrock", status, _bedrock)
    assert type(error).__name__ == name
    assert error.response["Error"] == {"Code": name, "Message": MESSAGE}
