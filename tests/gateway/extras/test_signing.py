"""Signed upstreams: what arrives is signed as its vendor checks it, and credentials are renewed in time."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from taximeter.errors import ConfigError, SigningError
from taximeter.gateway.config import Config, GatewaySettings, UpstreamSettings
from taximeter.gateway.opening import open_gate
from taximeter.gateway.signing import finding
from taximeter.gateway.signing.bedrock import BedrockSigner
from taximeter.gateway.signing.finding import Signing, find_signers
from taximeter.gateway.signing.fresh import Fresh, Held
from taximeter.gateway.signing.vertex import VertexSigner
from taximeter.gateway.telling import GatewayMeter
from taximeter.gateway.upstreams import find_upstreams
from taximeter.gateway.worker import Gateway
from taximeter.meter.settings import Settings
from taximeter.simulator import Simulator
from taximeter.store import open_store
from tests.gateway.extras.stage import send
from tests.gateway.http.stage import Upstream, answering
from tests.gateway.policy.helpers import Keyed

AWS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_SESSION_TOKEN": "a-token"}
ASKED = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
ANSWER = (
    b'{"output":{"message":{"role":"assistant","content":[{"text":"hey"}]}},"usage":{"inputTokens":1,"outputTokens":2}}'
)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)


@contextmanager
def before(
    url: str, folder: Path, *, name: str = "bedrock", environment: dict[str, str] | None = None, **gateway: Any
) -> Generator[Gateway]:
    """A gateway before one upstream, that signs where it has the credentials."""
    settings = UpstreamSettings(base_url=url, region="eu-west-1", project="p")
    told: dict[str, Any] = {"auth": "none"} | gateway
    config = Config(gateway=GatewaySettings(**told), upstreams={name: settings})
    variables = {"HOME": str(folder), **(environment or {})}
    signing = Signing()
    signers = signing.take(find_signers(config, variables))
    store = str(folder / "store.sqlite3")
    gate = open_gate(config, store_url=store, environment=variables, signers=signers)
    signing.run(signers, gate.upstreams)
    meter = GatewayMeter(Settings(store=store), alone=True)
    with Gateway(lambda: gate, config.gateway, meter, words=meter.told.words) as made:
        yield made
    gate.close()
    meter.close()
    for signer in signers.values():
        signer.fresh.close()


def signature_of(request: bytes) -> tuple[str, str]:
    """The signature that a request carries, and the one that botocore makes of it with what AWS knows of the caller."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - may be missing
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - as above
    from botocore.credentials import Credentials  # noqa: PLC0415 - as above

    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    scheme, _, rest = headers["authorization"].partition(" ")
    fields = dict(part.split("=", 1) for part in rest.split(", "))
    assert scheme == "AWS4-HMAC-SHA256"
    assert fields["Credential"].startswith(f"AKIDEXAMPLE/{headers['x-amz-date'][:8]}/eu-west-1/bedrock/")
    signed = fields["SignedHeaders"].split(";")
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(signed)
    rebuilt = AWSRequest(
        method=method,
        url=f"https://{headers['host']}{target}",
        data=body,
        headers={name: headers[name] for name in signed},
    )
    rebuilt.context["timestamp"] = headers["x-amz-date"]
    auth: Any = SigV4Auth(Credentials(*AWS.values()), "bedrock", "eu-west-1")
    expected = auth.signature(auth.string_to_sign(rebuilt, auth.canonical_request(rebuilt)), rebuilt)
    return fields["Signature"], expected


@pytest.mark.needs("boto3")
@pytest.mark.parametrize(
    "model",
    ["m", "eu.anthropic.claude-haiku-4-5-v1:0", "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.m"],
)
def test_what_arrives_at_bedrock_is_signed(model: str, tmp_path: Path) -> None:
    """Over the host that is called, the path however it is escaped, and the body; nothing of the client's is left."""
    with (
        Upstream(answering(OK)) as upstream,
        before(f"http://127.0.0.1:{upstream.port}", tmp_path, environment=AWS) as made,
    ):
        theirs = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=x/y, Signature=z",
            "x-amz-date": "20200101T000000Z",
            "x-amz-security-token": "theirs",
            "X-Amzn-Bedrock-Trace": "ENABLED",
        }
        said = send(made, f"/bedrock/model/{model}/converse?b=2&a=1", ASKED, theirs)
    assert (said.status, said.body) == (200, ANSWER)
    [request] = upstream.requests
    carried, expected = signature_of(request)
    assert carried == expected
    assert b"Host: 127.0.0.1:%d\r\n" % upstream.port in request or b"host: 127.0.0.1:%d\r\n" % upstream.port in request
    assert b"theirs" not in request
    assert request.lower().count(b"x-amz-date:") == request.lower().count(b"authorization:") == 1


def _converse(url: str, key: str, *, bearer: bool) -> tuple[int, int]:
    """The output tokens that boto3 is told, whole and streamed."""
    import boto3  # noqa: PLC0415 - may be missing
    from botocore import UNSIGNED  # noqa: PLC0415 - as above
    from botocore.config import Config as ClientConfig  # noqa: PLC0415 - as above

    client: Any = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id=key,
        aws_secret_access_key="of no use",
        config=ClientConfig(signature_version=UNSIGNED) if bearer else None,
    )
    if bearer:  # boto3 sends one by itself over TLS alone

        def present(request: Any, **_: object) -> None:
            request.headers["Authorization"] = f"Bearer {key}"

        client.meta.events.register("before-send.bedrock-runtime", present)
    try:
        asked: dict[str, Any] = {"modelId": "eu.anthropic.claude-haiku-4-5-v1:0", **ASKED}
        whole = client.converse(**asked)
        events = list(client.converse_stream(**asked)["stream"])
        return whole["usage"]["outputTokens"], events[-1]["metadata"]["usage"]["outputTokens"]
    finally:
        client.close()


@pytest.mark.needs("boto3")
@pytest.mark.parametrize(("auth", "bearer"), [("keys", False), ("keys", True), ("passthrough", True)])
def test_boto3_calls_through_the_gateway(
    auth: str,
    bearer: bool,  # noqa: FBT001 - a case
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Converse and ConverseStream, with a virtual key as the id of its access key or as a bearer; both are booked.

    Where keys are forwarded its bearer of Bedrock's is.
    """
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    keyed = Keyed(tmp_path)
    key = keyed.key("boto", project="shop") if auth == "keys" else "a-bearer-of-bedrock"
    keyed.ring.close()
    with (
        Simulator() as provider,
        before(provider.url("bedrock"), tmp_path, environment=AWS, auth=auth) as made,
    ):
        whole, streamed = _converse(f"{made.url}/bedrock", key, bearer=bearer)
    with open_store(str(tmp_path / "store.sqlite3")) as store:
        events = list(store.events())
    assert [event.usage and event.usage["output_tokens"] for event in events] == [whole, streamed]
    assert {event.scope.project for event in events} == {"shop" if auth == "keys" else None}


def test_a_key_as_the_id_of_an_access_key_is_no_less_checked(tmp_path: Path) -> None:
    """A signature alone opens nothing, and neither does a key that nobody made."""
    with before("http://127.0.0.1:1", tmp_path, environment=AWS, auth="keys") as made:
        for signer in ("AKIDEXAMPLE", "tmk-1"):
            header = f"AWS4-HMAC-SHA256 Credential={signer}/20260101/eu-west-1/bedrock/aws4_request, Signature=0"
            assert send(made, "/bedrock/model/m/converse", ASKED, {"Authorization": header}).status == 401


@pytest.mark.needs("boto3")
def test_a_key_of_bedrock_goes_in_the_place_of_a_signature(tmp_path: Path) -> None:
    """Where there is one, nothing is signed."""
    environment = AWS | {"AWS_BEARER_TOKEN_BEDROCK": "a-bearer"}
    with (
        Upstream(answering(OK)) as upstream,
        before(f"http://127.0.0.1:{upstream.port}", tmp_path, environment=environment) as made,
    ):
        send(made, "/bedrock/model/m/converse", ASKED)
    assert b"Bearer a-bearer\r\n" in upstream.requests[0]
    assert b"AWS4" not in upstream.requests[0]


@pytest.mark.needs("boto3")
def test_without_credentials_a_call_is_not_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The configuration names the upstream, and nobody has credentials: 503 in Bedrock's format."""
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"), "AWS_CONFIG_FILE": str(tmp_path / "none")}
    with (
        Upstream(answering(OK)) as upstream,
        before(f"http://127.0.0.1:{upstream.port}", tmp_path, environment=environment) as made,
    ):
        said = send(made, "/bedrock/model/m/converse", ASKED)
    assert (said.status, said.json["__type"]) == (503, "ServiceUnavailableException")
    assert "credentials for Bedrock cannot be had" in caplog.text
    assert not upstream.requests


@pytest.mark.needs("boto3")
def test_a_profile_is_found(tmp_path: Path) -> None:
    """Where the variables say that its file is."""
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = s\n")
    signer = BedrockSigner(
        "eu-west-1", {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_PROFILE": "work"}
    )
    signer.fresh.start(5)
    signed = dict(signer(b"GET", b"/x", [(b"host", b"h")], b""))
    signer.fresh.close()
    assert b"Credential=AKIDEXAMPLE/" in signed[b"Authorization"]


class Tokens:
    """A server of OAuth tokens, each of which lives so many seconds."""

    def __init__(self, seconds: int) -> None:
        self.given: list[float] = []
        self.news = threading.Condition()

        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                token = f"token-{tokens.give()}"
                body = json.dumps({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join(5)
        self.server.server_close()

    def give(self) -> int:
        """Which one is given."""
        with self.news:
            self.given.append(time.time())
            self.news.notify_all()
            return len(self.given)

    def wait(self, count: int) -> None:
        """Until so many were given."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.given) >= count, 10)


@pytest.fixture(scope="module")
def rsa_key() -> str:
    """A private key for a service account."""
    made = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip("needs openssl: it makes no key here")
    return made.stdout


def account(folder: Path, key: str, token_uri: str) -> dict[str, str]:
    """The variables that name a service account's file."""
    file = folder / "account.json"
    fields = {"type": "service_account", "client_email": "a@b.test", "private_key": key, "token_uri": token_uri}
    file.write_text(json.dumps(fields | {"project_id": "p", "private_key_id": "1"}))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}


@pytest.mark.needs("google-genai")
def test_calls_to_vertex_carry_a_token_that_is_renewed(tmp_path: Path, rsa_key: str) -> None:
    """Before it expires, by a thread; the client's own credentials do not travel."""
    path = "/vertex/v1/projects/p/locations/eu-west-1/publishers/google/models/gemini-2.5-flash:generateContent"
    answer = b'{"candidates":[],"usageMetadata":{"promptTokenCount":1,"totalTokenCount":1}}'
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what google's own packages say when they are loaded
        with Tokens(2) as tokens, Upstream(answering(ok)) as upstream:
            environment = account(tmp_path, rsa_key, tokens.url)
            url = f"http://127.0.0.1:{upstream.port}"
            with before(url, tmp_path, name="vertex", environment=environment) as made:
                headers = {"Authorization": "Bearer theirs", "x-goog-user-project": "theirs"}
                assert send(made, path, {"contents": []}, headers).status == 200
                tokens.wait(2)
                tokens.wait(3)  # the second is held by now
                assert send(made, path, {"contents": []}, headers).status == 200
    first, second = upstream.requests
    assert b"\r\nauthorization: Bearer token-1\r\n" in first
    assert b"\r\nauthorization: Bearer token-" in second
    assert b"token-1\r\n" not in second
    assert b"theirs" not in first + second
    assert tokens.given[1] - tokens.given[0] < 2


def test_what_cannot_be_renewed_serves_until_it_expires(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged once, and without what is secret in it; then there is none."""
    secret = "-".join(("sk", "ant", "0123456789" * 3))
    now = [100.0]
    asked = threading.Semaphore(0)
    outcomes: Iterator[Callable[[], Held[str]]] = iter([lambda: Held("v", 160.0, 0.0)])

    def fetch() -> Held[str]:
        asked.release()
        made = next(outcomes, None)
        if made is None:
            msg = f"the server said no to {secret}"
            raise OSError(msg)
        return made()

    fresh = Fresh("tokens", fetch, lambda: now[0])
    with pytest.raises(SigningError):
        fresh.get()
    fresh.start(5)
    for _ in range(2):
        assert asked.acquire(timeout=5)
    assert fresh.get() == "v"
    now[0] = 160.0
    with pytest.raises(SigningError, match="tokens: there are none now"):
        fresh.get()
    fresh.close()
    assert "tokens cannot be had, and are tried for again: OSError: the server said no" in caplog.text
    assert secret not in caplog.text


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the configuration names the upstream; credentials that merely lie about change nothing."""
    monkeypatch.setattr(finding, "find_spec", lambda _: None)
    variables = AWS | {"AWS_REGION": "eu-west-1", "GOOGLE_APPLICATION_CREDENTIALS": "f"}
    assert find_signers(Config(), variables) == {}
    for name, extra in {"bedrock": "gateway-aws", "vertex": "gateway-google"}.items():
        config = Config(upstreams={name: UpstreamSettings(region="eu-west-1")})
        with pytest.raises(ConfigError, match=rf"{name}.*taximeter\[{extra}\]"):
            find_signers(config, variables)
        config = Config(gateway=GatewaySettings(auth="passthrough"), upstreams=config.upstreams)
        assert find_signers(config, variables) == {}


def test_upstreams_that_are_signed_are_active(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment alone; one's own that are like them too; none where nothing points to credentials."""
    monkeypatch.setattr(finding, "find_spec", lambda _: True)
    variables = AWS | {"AWS_REGION": "eu-west-1", "GOOGLE_APPLICATION_CREDENTIALS": "f", "GOOGLE_CLOUD_LOCATION": "l"}
    config = Config(upstreams={"other": UpstreamSettings(kind="bedrock", region="us-east-1")})
    signers = find_signers(config, variables)
    assert {name: type(signer) for name, signer in signers.items()} == {
        "bedrock": BedrockSigner,
        "vertex": VertexSigner,
        "other": BedrockSigner,
    }
    assert find_upstreams(config, variables, signers).active.keys() >= signers.keys()
    assert find_signers(Config(), {"AWS_REGION": "eu-west-1"}) == {}


def test_a_reload_keeps_the_credentials_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What signs as before goes on; what is not used any more ends."""
    monkeypatch.setattr(finding, "find_spec", lambda _: True)
    config = Config(upstreams={"bedrock": UpstreamSettings(region="eu-west-1")})
    signing = Signing()
    monkeypatch.setattr(BedrockSigner, "_fetch", lambda _: Held("c", None, None))
    first = signing.take(find_signers(config, AWS))
    signing.run(first, find_upstreams(config, AWS, first))
    again = signing.take(find_signers(config, AWS))
    assert again["bedrock"] is first["bedrock"]
    changed = signing.take(find_signers(config, AWS | {"AWS_SESSION_TOKEN": "new"}))
    assert changed["bedrock"] is not first["bedrock"]
    signing.run({}, find_upstreams(Config(), {}))
    assert first["bedrock"].fresh._thread is not None
    assert not first["bedrock"].fresh._thread.is_alive()
