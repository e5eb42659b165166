"""The child process: confines itself, starts a second one for the program, runs the checks, and says what came of it.

The program and its checks share no memory. What the program's functions return arrives here as plain data or as a
reference (`wire`, `peer`), so that no object, no replaced built-in and no changed module of the program decides what an
assertion finds. The verdict goes through a pipe that the program's process does not have.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import signal
import sys
import types
from typing import Any

from seal_jax.evaluation.sandbox import candidate, confinement
from seal_jax.evaluation.sandbox.peer import CLOSED, Gone, Peer, Remote, describe


def main() -> None:
    """Run the job on standard input with the settings in the first argument; never return."""
    settings = json.loads(sys.argv.pop())
    verdict = settings["verdict"]
    try:
        os.chdir(settings["scratch"])
        files = confinement.enclose(settings["scratch"], settings["limits"], settings["parent"])
        (asked, asking), (answered, answering) = os.pipe(), os.pipe()
        me, other = os.getpid(), os.fork()  # from here on two, and nothing has read the job yet
        if other == 0:
            _program(asked, answering, (asking, answered, verdict), files, me, settings["unguarded"])
        signal.signal(signal.SIGTERM, lambda *_: (_reaped(other), os._exit(1)))
        os.close(asked)
        os.close(answering)
        missing = _missing(confinement.restrict(files, (os.getpid(), other)), settings["unguarded"])
    except OSError as error:
        missing = [f"({error})"]
    if missing:
        _say(verdict, f"refused {' '.join(missing)}\n")
        os._exit(1)
    job = json.load(sys.stdin.buffer)
    peer = Peer(answered, asking, _serve)
    _say(verdict, "ready\n")
    said = _run(peer, job)
    code, cpu = _reaped(other, kill=not said.startswith("died"))
    _say(verdict, f"died {code} {cpu}" if said.startswith("died") else said)
    os._exit(0)


def _program(
    asked: int, answering: int, others: tuple[int, ...], files: bool, parent: int, unguarded: list[str]
) -> None:
    """The other process: gives up the job, the verdict and everything else, then answers. Never returns."""
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for fd in (null, *others):
            os.close(fd)
        confinement.die_with(parent)
        if _missing(confinement.restrict(files, (os.getpid(),)), unguarded):
            os._exit(1)
        for name in [name for name in sys.modules if name.split(".")[0] == "seal_jax"]:
            del sys.modules[name]
        candidate.serve(asked, answering)
    finally:
        os._exit(1)


def _missing(guards: list[str], unguarded: list[str]) -> list[str]:
    return [guard for guard in confinement.GUARDS if guard not in guards and guard not in unguarded]


def _say(verdict: int, text: str) -> None:
    os.write(verdict, text.encode("utf-8", "replace"))


def _reaped(pid: int, kill: bool = True) -> tuple[int, float]:
    """Exit code (minus a signal's number) and processor seconds of the program's process, once it has ended."""
    if kill:
        os.kill(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def _run(peer: Peer, job: dict[str, Any]) -> str:
    """Run the program, then the checks: "passed", "failed" with a reason, or "died" if the program's process did."""
    try:
        peer.ask("run", job["code"])
        tree = ast.parse(job["checks"])
        names = {**vars(types.ModuleType("checks")), **_names(peer, tree, job["names"])}
        exec(compile(tree, "<checks>", "exec", dont_inherit=True), names)
        peer.ask("flush")
        sys.stdout.flush()
    except Gone as gone:
        return _gone(gone)
    except BaseException as error:
        raised, description = peer.raised or (None, "")
        return f"failed {description if raised is error else describe(error)}"
    return "passed" if peer.gone is None else _gone(peer.gone)


def _gone(gone: Gone) -> str:
    return "died" if str(gone) == CLOSED else f"failed {gone}"


def _names(peer: Peer, tree: ast.Module, own: list[str]) -> dict[str, Any]:
    """What the names in the checks stand for in the program; built-in names are the checks', but for those in `own`.

    A module is imported here under the same name, so that the program cannot have changed it.
    """
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    wanted = sorted(name for name in used if name in own or not (hasattr(builtins, name) or name.startswith("__")))
    there = peer.ask("names", wanted)
    shown = {name: there[name] for name in wanted if name in there}
    return {name: _module(name) if is_module else value for name, (is_module, value) in shown.items()}


def _module(name: str) -> types.ModuleType:
    return importlib.import_module({"np": "numpy"}.get(name, name))


def _serve(operation: str, *operands: Any) -> Any:
    """What the checks do for the program: call functions and draw from iterators that they passed to it."""
    what, *rest = operands
    if operation == "call" and not isinstance(what, Remote):
        return what(*rest[0], **rest[1]), {}
    if operation in ("iter", "next"):
        return iter(what) if operation == "iter" else [item for _, item in zip("1", what)]
    raise TypeError(f"an object of the checks has no {operation}")
