"""Run every benchmark and print one JSON line each: `python -m benchmarks`."""

from __future__ import annotations

import importlib
import pathlib


def main() -> None:
    """Import and run each benchmark of this folder in the order of its name."""
    for path in sorted(pathlib.Path(__file__).parent.glob("[!_]*.py")):
        importlib.import_module(f"benchmarks.{path.stem}").main(["--json"])


if __name__ == "__main__":
    main()
