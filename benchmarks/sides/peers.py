"""The sides that are measured: a plain SDK, the SDK under Taximeter, and others that meter it, each in its usual setup.

All send what they record to a sink on this machine, and none may reach beyond it. What is not installed is passed over.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

MODEL: Final = "gpt-5-mini"
KEY: Final = "sk-of-no-use"
_TEXT: Final = "Tell me of a river that runs past two towns and a mill, and of who lives there. "
_PROMPT: Final = _TEXT * 24
WHOLE: Final = {"x-simulate": "output=300"}
STREAM: Final = {"x-simulate": "output=170"}
"""A whole answer of about 1.5 KB, and a stream of about 100 chunks."""

FLUSH_S: Final = 30


class Side(NamedTuple):
    """How one side makes calls.

    Attributes:
        whole: makes a call that is answered in one piece; given the call's number.
        stream: makes a call that streams, reads it to its end, and says how many chunks that were; given the number,
            and whether to ask for the usage.
        flush: hands over what is recorded, and waits until that is done.
        booked: how many calls are recorded; ``None`` where that cannot be asked.
    """

    whole: Callable[[int], object]
    stream: Callable[[int, bool], int]
    flush: Callable[[], object] = lambda: None
    booked: Callable[[], int | None] = lambda: None


class Kind(NamedTuple):
    """A side before it is set up.

    Attributes:
        package: what must be installed for it.
        set_up: given the SDK's base URL and the sink's, makes it ready.
    """

    package: str
    set_up: Callable[[str, str], Side]


def _messages(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{number}. {_PROMPT}"}]


def asked(number: int, *, stream: bool, usage: bool = False) -> dict[str, Any]:
    """The arguments of a call. Each has a text of its own, so that nothing can be kept from the one before."""
    call: dict[str, Any] = {"model": MODEL, "messages": _messages(number), "extra_headers": WHOLE}
    if stream:
        call |= {"stream": True, "extra_headers": STREAM}
    return call | {"stream_options": {"include_usage": True}} if usage else call


def read(stream: Any) -> int:  # noqa: ANN401 - of whatever SDK
    """Reads a stream as an application does; how many chunks it had."""
    chunks = 0
    for chunk in stream:
        for choice in chunk.choices:
            if choice.delta.content:
                chunks += 1
                break
    return chunks


def _through(client: Any, flush: Callable[[], object], booked: Callable[[], int | None]) -> Side:  # noqa: ANN401
    create = client.chat.completions.create

    def whole(number: int) -> object:
        return create(**asked(number, stream=False))

    def stream(number: int, usage: bool) -> int:  # noqa: FBT001 - as Side has it
        return read(create(**asked(number, stream=True, usage=usage)))

    return Side(whole, stream, flush, booked)


def _sdk(url: str) -> Any:  # noqa: ANN401 - its types are not needed here
    sdk: Any = import_module("openai")
    return sdk.OpenAI(base_url=url, api_key=KEY, max_retries=0)


def _nothing() -> None:
    return None


def _plain(url: str, sink: str) -> Side:
    del sink
    return _through(_sdk(url), _nothing, _nothing)


def _taximeter(url: str, sink: str) -> Side:
    """The journal, the writer's thread and a store on the disk: nothing is left out."""
    del sink
    import taximeter  # noqa: PLC0415 - its import is part of what is measured

    taximeter.instrument()

    def booked() -> int:
        with taximeter.open_store() as store:
            return store.count()

    return _through(_sdk(url), lambda: taximeter.flush(FLUSH_S), booked)


def _taximeter_asking(url: str, sink: str) -> Side:
    """The same, where streams that did not ask for their usage are made to."""
    import taximeter  # noqa: PLC0415 - as above

    side = _taximeter(url, sink)
    taximeter.endpoint(url, api="openai.chat", provider="openai", asks_usage=True)
    return side


def _exporter(sink: str) -> Any:  # noqa: ANN401 - of a package that may not be installed
    otlp: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    return otlp.OTLPSpanExporter(endpoint=f"{sink}/v1/traces")


def _openllmetry(url: str, sink: str) -> Side:
    instrumentation: Any = import_module("opentelemetry.instrumentation.openai")
    trace: Any = import_module("opentelemetry.sdk.trace")
    export: Any = import_module("opentelemetry.sdk.trace.export")
    provider = trace.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(_exporter(sink)))
    instrumentation.OpenAIInstrumentor().instrument(tracer_provider=provider)
    return _through(_sdk(url), provider.force_flush, _nothing)


def _langfuse(url: str, sink: str) -> Side:
    os.environ |= {"LANGFUSE_HOST": sink, "LANGFUSE_BASE_URL": sink}
    langfuse: Any = import_module("langfuse")
    keeper = langfuse.Langfuse(public_key="pk-lf-0", secret_key="sk-lf-0")  # of no use to anybody
    wrapper: Any = import_module("langfuse.openai")
    return _through(wrapper.OpenAI(base_url=url, api_key=KEY, max_retries=0), keeper.flush, _nothing)


def _openlit(url: str, sink: str) -> Side:
    prices = Path(tempfile.mkdtemp()) / "pricing.json"  # otherwise it fetches a file from the internet
    prices.write_text(json.dumps({"chat": {MODEL: {"promptPrice": 0.00025, "completionPrice": 0.002}}}))
    openlit: Any = import_module("openlit")
    openlit.init(otlp_endpoint=sink, pricing_json=str(prices))
    tracing: Any = import_module("opentelemetry.trace")
    return _through(_sdk(url), tracing.get_tracer_provider().force_flush, _nothing)


def _litellm(url: str, sink: str) -> Side:
    """The way that calls take, with one callback that is told of each when it has ended."""
    del sink
    litellm: Any = import_module("litellm")
    logger: Any = import_module("litellm.integrations.custom_logger").CustomLogger
    told = threading.Semaphore(0)
    made = 0
    heard = 0

    class Callback(logger):
        """Counts the calls that it is told the end of."""

        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ANN401
            """Streams are told of chunk by chunk too; only the last of these has the whole."""
            del response_obj, start_time, end_time
            if not kwargs.get("stream") or kwargs.get("complete_streaming_response") is not None:
                told.release()

    litellm.callbacks = [Callback()]
    litellm.telemetry = False
    common: dict[str, Any] = {"base_url": url, "api_key": KEY, "max_retries": 0}

    def make(number: int, *, stream: bool, usage: bool = False) -> Any:  # noqa: ANN401 - its own kinds
        nonlocal made
        made += 1
        call = asked(number, stream=stream, usage=usage) | {"model": f"openai/{MODEL}"}
        return litellm.completion(**call, **common)

    def flush() -> None:
        nonlocal heard
        while heard < made and told.acquire(timeout=FLUSH_S):
            heard += 1

    def whole(number: int) -> object:
        return make(number, stream=False)

    def stream(number: int, usage: bool) -> int:  # noqa: FBT001 - as Side has it
        return read(make(number, stream=True, usage=usage))

    return Side(whole, stream, flush, lambda: heard)


KINDS: Final = {
    "plain": Kind("openai", _plain),
    "plain again": Kind("openai", _plain),
    "taximeter": Kind("taximeter", _taximeter),
    "taximeter, asking": Kind("taximeter", _taximeter_asking),
    "openllmetry": Kind("opentelemetry-instrumentation-openai", _openllmetry),
    "langfuse": Kind("langfuse", _langfuse),
    "openlit": Kind("openlit", _openlit),
    "litellm": Kind("litellm", _litellm),
}
"""Every side. The second plain one shows what a difference of nothing looks like."""

QUIET: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "TRACELOOP_TELEMETRY": "false",
    "OPENLIT_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "OTEL_METRICS_EXPORTER": "none",
    "NO_PROXY": "*",
    "no_proxy": "*",
}
"""The environment in which nobody has a reason to look beyond this machine; the client forbids it besides."""
