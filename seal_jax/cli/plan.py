"""`seal-jax plan`: does an experiment fit a TPU? Asked of the TPU's compiler, with no TPU."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any

import tyro

from seal_jax.cli.report import Report
from seal_jax.plan.settings import Settings

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Compile an experiment's programs for a TPU slice and print whether they fit, and what they cost.

    It needs the extra `tpu` (libtpu, Linux on x86-64) and no TPU. Nothing is downloaded, but for a config.json where
    --model-config is a hub name. Not fitting is a verdict like fitting, and the exit code is 0.
    """

    settings: Annotated[Settings, tyro.conf.arg(name="")]
    model_config: str
    """A config.json in the Hugging Face layout, a directory that holds one, or a hub name."""
    edits: str = "32"
    """How many edits are trained at once, or adapters generate at once (0: the base model generates); "max" finds the
    largest number that fits."""
    timeout: float = 3600.0
    """Seconds that one compilation may take."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def __call__(self) -> Report:
        """Plan, telling each try on standard error as it ends."""
        from seal_jax import plan

        if self.edits != "max" and not self.edits.isdecimal():
            raise ValueError(f"--edits {self.edits}: use a number, or max for the largest that fits")
        edits: Any = self.edits if self.edits == "max" else int(self.edits)
        tell = lambda tried: print(_line(tried), file=sys.stderr, flush=True)  # noqa: E731
        found = plan.plan(self.settings, plan.read_model_config(self.model_config), edits, self.timeout, tell)
        title = f"{found['experiment']}, {self.model_config}, {found['topology']}, {found['edits']} edits"
        return Report({"model_config": self.model_config, **found}, _rows(found), title, _notes(found))


def _line(found: dict[str, Any]) -> str:
    verdict = "fits" if found["fits"] else "does not fit"
    memory = f"{found['needed_gib']:.2f} of {found['available_gib']:.2f} GiB"
    return f"{found['edits']:>5} edits: {verdict:12} {memory} a device, {found['compile_seconds']:.0f} s to compile"


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a program."""
    return [
        {
            "program": program["name"],
            "fits": "yes" if program["fits"] else "no",
            "needed GiB": _two(program["needed_gib"]),
            "arguments": _two(program.get("arguments_gib")),
            "temporaries": _two(program.get("temporaries_gib")),
            "output": _two(program.get("output_gib")),
            "TFLOP a device": _two(program["flops_per_device"] / 1e12),
            "by compiler": _two(program["flops_by_compiler"] / 1e12) if program.get("flops_by_compiler") else "-",
            "compiled in s": f"{program['compile_seconds']:.0f}",
        }
        for program in found["programs"]
    ]


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _notes(found: dict[str, Any]) -> list[str]:
    mesh = ", ".join(f"{axis}={size}" for axis, size in found["mesh"].items())
    devices = f"{found['devices']} x {found['device']}"
    each = found["adapter_parameters"] // max(found["edits"], 1)
    seconds = sum(program["compile_seconds"] for program in found["programs"])
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return [
        f"verdict:     {_line(found | {'compile_seconds': seconds}).strip()}",
        f"mesh:        {mesh} of {devices}; {found['mesh_reason']}",
        f"model:       {found['parameters']:,} parameters, {found['parameter_bytes'] / GIB:.2f} GiB in bf16",
        f"adapters:    {found['edits']} x {each:,} numbers, {found['adapter_bytes'] / GIB:.2f} GiB in fp32; "
        f"optimizer {found['optimizer_bytes'] / GIB:.2f} GiB (all devices together)",
        *(f"collectives: {line}" for program in found["programs"] for line in _collectives(program)),
        f"compiled by: {versions}",
    ]


def _collectives(program: dict[str, Any]) -> list[str]:
    return [
        f"{kind} x {moved['count']} in the program, {moved['executed']:,.0f} executed, "
        f"{moved['bytes'] / GIB:,.2f} GiB of results a device ({program['name']})"
        for kind, moved in program.get("collectives", {}).items()
    ] or ([f"none ({program['name']})"] if program["fits"] else [])
