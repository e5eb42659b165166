"""The child process: confines itself, runs a program and its checks, and says what came of it.

What it says goes through a pipe of its own: first which guards are in force, then one verdict. A pass repeats a token
that the parent left in a second pipe, and that nothing reads until the checks are through: it is in no variable, and
printing, exiting or replacing builtins does not bring it forth.
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any

from seal_jax.evaluation.sandbox import comparing, confinement

_REASON = 500  # characters of an error that are reported


def main() -> None:
    """Read the job from standard input, run it, never return."""
    # The program may replace whatever has a name in a module; these it cannot.
    leave, write, read, describe, flush = os._exit, os.write, os.read, _describe, sys.stdout.flush
    job = json.load(sys.stdin.buffer)
    verdict, token = job["verdict"], job["token"]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    missing = _confine(job)
    if missing:
        write(verdict, f"refused {' '.join(missing)}\n".encode())
        leave(1)
    write(verdict, b"ready\n")
    error = _run(job.pop("code"), job.pop("checks"))
    try:
        flush()
    except BaseException as unprinted:
        error = error or unprinted
    if error is not None:
        write(verdict, b"failed " + describe(error))
    else:
        write(verdict, b"passed " + read(token, 64))
    leave(0)


def _confine(job: dict[str, Any]) -> list[str]:
    """The guards that are missing and needed; an error in putting one up is a missing one with the error's text."""
    os.chdir(job["scratch"])
    try:
        guards = confinement.confine(job["scratch"], job["limits"], job["parent"])
    except OSError as error:
        return [f"({error})"]
    for name in [name for name in sys.modules if name.split(".")[0] == "seal_jax"]:
        del sys.modules[name]
    return [guard for guard in confinement.GUARDS if guard not in guards and guard not in job["unguarded"]]


def _run(code: str, checks: str) -> BaseException | None:
    """Run the code, then the checks in the same names; the exception that ended them, None if there was none."""
    execute, compiled, settrace, setprofile = exec, compile, sys.settrace, sys.setprofile
    module = types.ModuleType("solution")
    sys.modules["solution"] = module  # where dataclasses and others look a class's module up
    try:
        second, names = comparing.compiled(checks, "<program>")
        execute(compiled(code, "<program>", "exec", dont_inherit=True), module.__dict__)
        module.__dict__.update(names)
        settrace(None)
        setprofile(None)
        execute(second, module.__dict__)
    except BaseException as error:
        return error
    return None


def _describe(error: BaseException) -> bytes:
    """The error in one line, with the line of the program or of the checks where it came up."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<program>", "<checks>"):
            place = f" at line {trace.tb_lineno} of the {trace.tb_frame.f_code.co_filename.strip('<>')}"
        trace = trace.tb_next
    try:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    except BaseException:  # an exception class of the program's own may do anything
        text = type(error).__name__
    return f"{text[:_REASON]}{place}".encode("utf-8", "replace")
