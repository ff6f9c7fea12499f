# ruff: noqa: INP001 - a folder to be put on the path, and no package
"""Run by every Python that ``taximeter run`` starts, before the program itself: meters it, and steps out of the way.

A ``sitecustomize`` of the user's own, further down the path, is run as it would have been.
"""

import sys
from importlib import import_module
from pathlib import Path


def _meter() -> None:
    try:
        import taximeter  # noqa: PLC0415 - may be absent in this Python
    except ImportError as error:
        sys.stderr.write(f"taximeter: {sys.executable} is not metered: {error}\n")
        return
    try:
        taximeter.instrument()
    except Exception as error:  # noqa: BLE001 - said, and the program runs all the same
        sys.stderr.write(f"taximeter: {sys.executable} is not metered: {type(error).__name__}: {error}\n")


def _step_aside() -> None:
    """Runs the next ``sitecustomize`` on the path, as if this one were not there."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != here]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import_module("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        if ours is not None:
            sys.modules["sitecustomize"] = ours


_meter()
_step_aside()
