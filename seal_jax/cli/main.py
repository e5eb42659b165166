"""Find the command, parse its arguments, run it, print its report, turn our errors into one line."""

from __future__ import annotations

import contextlib
import difflib
import glob
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from seal_jax import __version__
from seal_jax.cli.errors import exit_code, fail, leave
from seal_jax.cli.report import Report, show

PROGRAM = "seal-jax"
COMMANDS: dict[str, str] = {
    "demo": "SEAL end to end on the embedded world, in minutes, with the table and the figure",
    "generate": "continue prompts with a model, and an adapter if you like",
    "convert": "rewrite a checkpoint or an adapter: another dtype, adapter merged, HF or PEFT layout",
    "plan": "does an experiment fit a TPU slice? its programs compiled for it, without one",
    "bench": "run one of the repository's benchmarks",
    "seal": "self-edits: write them, train on the best, evaluate; recorded files (seal --help lists all)",
    "rain": "continue prompts by a search that the model judges, with nothing trained",
    "svf": "singular-value experts: train, evaluate, choose by prompt, mix, serve (svf --help lists all)",
    "continual": "learn a stream of tasks without forgetting; figures of a matrix of scores; adapters merged",
}
"""Commands in the order of the help, each a module of this package of the same name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit code.

    0: done. 2: wrong arguments or bad input, told in one line on standard error; with SEAL_JAX_DEBUG=1 the stack trace
    is shown as well. 130: stopped by Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # generated text may hold what the terminal's encoding does not
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"seal-jax {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        close = difflib.get_close_matches(arguments[0], COMMANDS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; the commands are {', '.join(COMMANDS)}"
        return fail(f"there is no command {arguments[0]!r}{hint}", PROGRAM)
    return _run(arguments[0], arguments[1:])


def console() -> None:
    """The entry point of the installed command: `main`, then the end of the process with its exit code."""
    quiet_libtpu()
    warnings.formatwarning = lambda message, *_, **__: f"{PROGRAM}: warning: {message}\n"  # of no line of ours
    leave(main())


def quiet_libtpu() -> None:
    """Keep libtpu, which `plan` brings, from complaining at every start of JAX on a machine without a TPU.

    It says there that it does not know the TPU's type and host names; both are then given, and change nothing.
    """
    if not (glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")):
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-1")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")


def _run(name: str, arguments: list[str]) -> int:
    from seal_jax.cli import arguments as parser  # tyro, which no list of commands should wait for

    module = importlib.import_module(f"seal_jax.cli.{name}")
    command = None

    def work() -> None:
        nonlocal command
        command = parser.parse(module.Command, name, COMMANDS[name], arguments)
        show(_call(command), command.json)

    return exit_code(work, PROGRAM, goes_on=lambda: getattr(command, "resumes", False))


def _call(command: Any) -> Report:
    """Check a command's arguments and run it.

    With --json, what libraries print on standard output goes to standard error instead.
    """
    if hasattr(command, "check"):
        command.check()
    with contextlib.redirect_stdout(sys.stderr) if command.json else contextlib.nullcontext():
        return command()


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: seal-jax COMMAND [arguments]\n\n"
        "Language models that adapt themselves.\n\n"
        f"commands:\n{rows}\n\n"
        "seal-jax COMMAND --help   the arguments of a command\n"
        "seal-jax --version        the version"
    )


if __name__ == "__main__":
    console()
