"""`--export DIR`: nothing is exported over what another run, or anybody, has put there."""

from __future__ import annotations

import pathlib

from seal_jax.cli.options import occupied


def check_export(out: pathlib.Path, export: pathlib.Path | None) -> None:
    """Raise ValueError if `export` holds anything but what the run in `out` has exported before; None is no export."""
    if export and occupied(export) and str(export.resolve()) not in _exported(out):
        raise ValueError(f"{export} exists and is not an empty directory; choose another --export")


def claim_export(out: pathlib.Path, export: pathlib.Path | None) -> None:
    """Note in the run's directory where it exports to, so that the same command may go on after the export."""
    from seal_jax.runtime.files import write_json

    if export:
        write_json(out / "export.json", sorted({*_exported(out), str(export.resolve())}))


def _exported(out: pathlib.Path) -> list[str]:
    from seal_jax.runtime.files import read_json

    return read_json(out / "export.json") if (out / "export.json").exists() else []
