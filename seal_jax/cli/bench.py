"""`seal-jax bench NAME`: one of the repository's benchmarks."""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
import sys
from typing import Annotated, Any

import tyro

import seal_jax
from seal_jax.cli.report import Report

COMPARED_WITH = ("torch", "peft")  # in the dev extra alone


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Run the benchmark `benchmarks/NAME.py` of a checkout and print what it measured."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The file's name without its ending, as "inner_loop"; for any other word the names that there are are listed."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def __call__(self) -> Report:
        """Import the benchmark and call its `run() -> dict`."""
        folder = benchmarks_folder()
        names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
        if self.name not in names:
            raise ValueError(f"there is no benchmark {self.name!r}; {folder} has {', '.join(names) or 'none'}")
        if str(folder.parent) not in sys.path:
            sys.path.insert(0, str(folder.parent))
        result = _measured(self.name)
        rows = [{"measured": key, "value": value} for key, value in result.items()]
        return Report(result, rows, self.name)


def _measured(name: str) -> dict[str, Any]:
    try:
        return importlib.import_module(f"benchmarks.{name}").run()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in COMPARED_WITH:
            raise
        raise ValueError(
            f"benchmark {name!r} compares with {error.name}, which is not installed: install the dev extra, "
            "`pip install -e '.[dev]'`"
        ) from error


def benchmarks_folder() -> pathlib.Path:
    """The folder `benchmarks` beside the package. Raises ValueError if this is not a checkout of the repository."""
    folder = pathlib.Path(seal_jax.__file__).resolve().parents[1] / "benchmarks"
    if not folder.is_dir():
        raise ValueError(
            f"benchmarks are part of the repository and not of the installed package ({folder} is not there): "
            "clone the repository and run `pip install -e .` in it"
        )
    return folder
