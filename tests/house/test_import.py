"""Importing Taximeter is light and opens nothing."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import json, sys
opened = []

def watch(event, args):
    if event.startswith(("socket.", "sqlite3.", "subprocess.", "os.fork")) or event == "_thread.start_new_thread":
        opened.append(event)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        opened.append(f"open for writing: {args[0]}")

before = set(sys.modules)
sys.dont_write_bytecode = True
sys.addaudithook(watch)
import taximeter
print(json.dumps({"modules": sorted(set(sys.modules) - before), "opened": opened}))
"""

HEAVY = {
    "alembic",
    "asyncio",
    "brotli",
    "click",
    "genai_prices",
    "http",
    "httpx",
    "httpx2",
    "pydantic",
    "requests",
    "rich",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "ssl",
    "zstandard",
}


def _import() -> dict[str, list[str]]:
    """What importing the package, in a process of its own, loads and opens."""
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_import_loads_nothing_heavy() -> None:
    """No database, price data, network or terminal library is loaded before it is used."""
    loaded = {module.split(".")[0] for module in _import()["modules"]}
    assert "taximeter" in loaded
    assert not loaded & HEAVY


def test_import_opens_nothing() -> None:
    """No thread, socket, database, child process or file for writing comes of an import."""
    assert _import()["opened"] == []
