"""gunicorn: workers that are forked from a process that has called, share a store, and may be killed."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes.conftest import Books, Program

pytestmark = pytest.mark.needs("gunicorn")

APPLICATION = '''
import os
import httpx2
import taximeter

taximeter.instrument()
URL = os.environ["PROVIDER"] + "/chat/completions"

def ask(number, knobs):
    """The pieces of an answer."""
    said = [{"role": "user", "content": f"Hello {number}"}]
    body = {"model": "gpt-4o", "messages": said, "stream": True, "stream_options": {"include_usage": True}}
    with taximeter.scope(operation=number):
        with httpx2.stream("POST", URL, json=body, headers={"x-simulate": knobs}, timeout=30) as answer:
            yield from answer.iter_raw()

def application(environ, start_response):
    number, _, knobs = environ["QUERY_STRING"].partition("&")
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"%d " % os.getpid()
    for _ in ask(number, knobs):
        yield b"."

for _ in ask("import", ""):
    pass
assert taximeter.flush()  # the store is open when the workers are forked
'''


class Application:
    """An application that is served.

    Attributes:
        process: gunicorn's own.
    """

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self._port = port

    def begin(self, query: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, int]:
        """Asks for something; when it returns the worker, whose process id it tells, has begun to answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", f"/?{query}", headers={"Connection": "close"})
        answer = connection.getresponse()
        worker = b""
        while not worker.endswith(b" "):
            worker += answer.read(1)
        return connection, answer, int(worker)

    def get(self, query: str) -> int:
        """Asks for something, and waits for all of it; returns which worker answered."""
        connection, answer, worker = self.begin(query)
        assert set(answer.read()) == set(b".")
        connection.close()
        return worker

    def stop(self) -> None:
        """Has it end what it is doing, and end."""
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=30)[0]
        assert self.process.returncode == 0, said


@pytest.fixture
def application(request: pytest.FixtureRequest, program: Program, tmp_path: Path) -> Application:
    """Served by three workers that are forked once the application is loaded."""
    (tmp_path / "application.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        options = ["--preload", "--workers=3", f"--worker-class={request.param}", f"--bind=fd://{listener.fileno()}"]
        options += ["--threads=2"] if request.param == "gthread" else []
        command = ["-m", "gunicorn", "--no-control-socket", *options, "application:application"]
        process = program(*command, pass_fds=[listener.fileno()])
    return Application(process, port)


@pytest.mark.parametrize("application", ["sync", "gthread"], indirect=True)
def test_every_call_once(application: Application, books: Books) -> None:
    """After a graceful stop the store has the call of the import, and each that a worker made."""
    workers: set[int] = set()
    asked: list[str] = []
    with ThreadPoolExecutor(6) as clients:
        while len(workers) < 2 and len(asked) < 1_000:
            some = [str(len(asked) + number) for number in range(24)]
            workers |= set(clients.map(lambda number: application.get(f"{number}&slow=20"), some))
            asked += some
    assert len(workers) > 1
    application.stop()
    events = books.events()
    assert sorted(event.scope.operation or "" for event in events) == sorted([*asked, "import"])
    assert books.differences(events) == []
    assert list(books.journals.glob("*.journal")) == []


@pytest.mark.parametrize("application", ["gthread"], indirect=True)
def test_a_worker_is_killed(application: Application, books: Books) -> None:
    """The call that was under way in it is in the books once, of unknown outcome; all others are as they were."""
    connection, answer, worker = application.begin("killed&stall=forever")
    assert answer.read(1) == b"."
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()
    for number in range(6):
        application.get(str(number))
    application.stop()
    books.recover()  # unless the worker in its place has done so
    assert books.recover() == 0
    events = books.events()
    (killed,) = [event for event in events if event.scope.operation == "killed"]
    assert (killed.outcome, killed.usage, killed.usage_source) == ("unknown", None, "unknown")
    events.remove(killed)
    assert sorted(event.scope.operation or "" for event in events) == [*map(str, range(6)), "import"]
    assert {event.outcome for event in events} == {"completed"}
