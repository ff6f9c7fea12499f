"""Writes the captures that ship with the package, to try `taximeter read` on.

They are made up: from nothing but the rules of each format, with invented text and invented counts. Their models are
real, so that they have prices. Run it again after a change here; a test compares what it writes with what is shipped.

    python scripts/demo/write.py [TARGET]
"""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

import openai_shaped
import vendor_shaped
from bodies import write

SHIPPED = Path(__file__).resolve().parents[2] / "src" / "taximeter" / "demo_captures"


def main(target: Path) -> None:
    """Writes every capture below ``target``."""
    demos = chain(
        openai_shaped.chat(),
        openai_shaped.responses(),
        vendor_shaped.anthropic(),
        vendor_shaped.gemini(),
        vendor_shaped.bedrock(),
        vendor_shaped.others(),
        openai_shaped.others(),
    )
    print(f"{len(write(demos, target))} captures in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else SHIPPED)
