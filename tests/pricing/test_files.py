"""The compiled catalogue on disk: read back whole, or not at all; and nothing heavy is loaded for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from taximeter.pricing import files
from taximeter.pricing.catalogue import FORMAT, Catalogue
from taximeter.pricing.files import load_catalogue

PROBE = """
import json, sys
{work}
heavy = ["genai_prices", "pydantic", "httpx", "httpx2", "sqlalchemy", "asyncio", "tomllib", "difflib"]
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def loaded(work: str, cache: Path) -> list[str]:
    """Which heavy modules a process has loaded after some work."""
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(work=work)],
        env=os.environ | {"TAXIMETER_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def cache_file(folder: Path) -> Path:
    """The one file of a cache folder."""
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The version of each catalogue that is compiled from now on; compiling itself is as quick as it can be."""
    versions: list[str] = []

    def compile_catalogue(version: str) -> Catalogue:
        versions.append(version)
        return Catalogue(FORMAT, version, None, ())

    monkeypatch.setattr(files, "compile_catalogue", compile_catalogue)
    return versions


def test_what_is_read_back_is_what_was_compiled(tmp_path: Path) -> None:
    """The first load writes a file, the second reads it, and both give the same catalogue, digit for digit."""
    first = load_catalogue(tmp_path / "new" / "folder")
    second = load_catalogue(tmp_path / "new" / "folder")
    assert first == second
    assert first.version == metadata.version("genai-prices")
    assert len(first.providers) > 40


def test_importing_loads_no_price_data(tmp_path: Path) -> None:
    """Neither does a file appear, nor is the data's package, or what it needs, imported."""
    assert loaded("import taximeter.pricing", tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_later_process_reads_the_file_alone(tmp_path: Path) -> None:
    """The first process compiles and imports genai-prices; the next one prices a call without it."""
    work = (
        "from datetime import *; from taximeter.pricing import PriceBook; from taximeter.usage import Usage\n"
        "book = PriceBook.load()\n"
        "at = datetime(2026, 11, 1, tzinfo=UTC)\n"
        "cost = book.price(Usage(input_tokens=1), provider='openai', model='gpt-5', at=at)\n"
        "assert str(cost.total) == '0.00000125'"
    )
    assert "genai_prices" in loaded(work, tmp_path)
    assert loaded(work, tmp_path) == []


def spoilt(content: bytes) -> dict[str, bytes]:
    """What may have become of a file."""
    other = msgspec.msgpack.encode(Catalogue(FORMAT, "0.0.1", None, ()))
    later = msgspec.msgpack.encode(Catalogue(FORMAT + 1, metadata.version("genai-prices"), None, ()))
    return {
        "empty": b"",
        "cut in the digest": content[:7],
        "cut": content[:-1],
        "longer": content + b"\0",
        "a flipped bit": content[:-1] + bytes([content[-1] ^ 1]),
        "foreign": b"{}" * 100,
        "whole, of another version": files._digest(other) + other,
        "whole, of another format": files._digest(later) + later,
        "whole, of another kind": files._digest(b"\x93\x01\x02\x03") + b"\x93\x01\x02\x03",
    }


@pytest.mark.parametrize("fate", list(spoilt(b"12345678")))
def test_a_spoilt_file_is_replaced(tmp_path: Path, compiled: list[str], fate: str) -> None:
    """A file that is not what was written is compiled again and is good the next time."""
    load_catalogue(tmp_path)
    path = cache_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(spoilt(content)[fate])
    load_catalogue(tmp_path)
    assert path.read_bytes() == content
    load_catalogue(tmp_path)
    assert len(compiled) == 2


def test_each_version_has_its_file(tmp_path: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade of the data the catalogue is compiled once more; the old file does no harm."""
    load_catalogue(tmp_path)
    monkeypatch.setattr(metadata, "version", lambda _name: "99.0")
    assert load_catalogue(tmp_path).version == "99.0"
    load_catalogue(tmp_path)
    assert compiled[1:] == ["99.0"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path, compiled: list[str]) -> None:
    """Where a file stands in the folder's place nothing is kept, and each load compiles."""
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert load_catalogue(blocked / "cache").version == load_catalogue(blocked).version
    assert len(compiled) == 2


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, compiled: list[str]) -> None:
    """When the finished file cannot be put in place, no half of it stays behind."""
    version = metadata.version("genai-prices")
    (tmp_path / f"genai-prices-{version}-format-{FORMAT}.msgpack").mkdir()
    load_catalogue(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(compiled) == 1


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TAXIMETER_CACHE, else the user's cache folder, else the one under the home."""
    monkeypatch.setenv("TAXIMETER_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert files.cache_folder() == tmp_path / "a"
    monkeypatch.delenv("TAXIMETER_CACHE")
    assert files.cache_folder() == tmp_path / "b" / "taximeter"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / ".cache" / "taximeter"
