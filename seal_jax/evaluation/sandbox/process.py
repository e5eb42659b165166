"""The parent's side: starts the child, reads what it prints and says up to a limit, ends it and everything it left."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

_PACKAGE = pathlib.Path(__file__).parents[2]
# The child imports this folder's modules under their names, without what their packages import.
_BOOT = f"""
import sys, types
for name, path in (("seal_jax", {str(_PACKAGE)!r}), ("seal_jax.evaluation", {str(_PACKAGE / "evaluation")!r})):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from seal_jax.evaluation.sandbox.child import main
main()
"""
_START_SECONDS = 60.0  # an interpreter on a busy machine; not the program's time
_TICK_SECONDS = 0.05
_GRACE_SECONDS = 1.0  # in which a child ends by itself when it is told to
_SCRATCH_FILES = 1000
_VERDICT_BYTES = 4096


class Ended(NamedTuple):
    """How a child ended: why it was stopped ("" if it was not), exit code (minus a signal's number), CPU seconds."""

    stopped: str
    code: int
    cpu: float
    said: bytes
    printed: bytes


@dataclass
class _Pipe:
    """What came out of one pipe, and how much of it may."""

    fd: int
    most: int
    read: bytearray = field(default_factory=bytearray)


def run(job: dict[str, Any], settings: dict[str, Any]) -> Ended:
    """Run one child to its end. job, settings: what `child.main` reads, the latter less what is known only here.

    OSError if none starts.
    """
    base = tempfile.mkdtemp(prefix="program-")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)  # the child can make plain files only
        (out, out_end), (said, said_end) = (_pipe(stack) for _ in range(2))
        known = {"scratch": base, "parent": os.getpid(), "verdict": said_end.fileno()}
        stdin = stack.enter_context(tempfile.TemporaryFile())
        stdin.write(json.dumps(job).encode())
        stdin.seek(0)
        process = _start(json.dumps({**settings, **known}), base, stdin, out_end, said_end.fileno())
        for end in (out_end, said_end):
            end.close()
        limits = settings["limits"]
        printed, verdict = _Pipe(out.fileno(), limits["output_bytes"]), _Pipe(said.fileno(), _VERDICT_BYTES)
        try:
            stopped = _watch(process.pid, printed, verdict, base, limits)
        finally:
            code, cpu = _end(process)
        _drain(printed)
        _drain(verdict)
        return Ended(stopped, code, cpu, bytes(verdict.read), bytes(printed.read))


def _start(settings: str, folder: str, stdin: IO[bytes], out: IO[bytes], verdict: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P and -s: nothing of the folder or the user is imported; the seed makes a run the same each time.
        [sys.executable, "-s", "-P", "-B", "-X", "utf8", "-c", _BOOT, settings],
        stdin=stdin,
        stdout=out,
        stderr=out,
        env={"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
        cwd=folder,
        pass_fds=(verdict,),
        start_new_session=True,
    )


def _pipe(stack: contextlib.ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """Reading and writing end, both unbuffered; closed with the stack at the latest."""
    reading, writing = os.pipe()
    ends = os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)
    for end in ends:
        stack.enter_context(end)
    return ends


def _watch(pid: int, printed: _Pipe, said: _Pipe, scratch: str, limits: dict[str, Any]) -> str:
    """Read until the child has ended (""), or why it has to be stopped."""
    deadline, started = time.monotonic() + _START_SECONDS, False
    with selectors.DefaultSelector() as selector:
        for pipe in (printed, said):
            os.set_blocking(pipe.fd, False)
            selector.register(pipe.fd, selectors.EVENT_READ, pipe)
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if not selector.get_map():
                time.sleep(_TICK_SECONDS / 5)  # it closed its pipes and goes on
            for key, _ in selector.select(_TICK_SECONDS) if selector.get_map() else ():
                if not _read(key.data):
                    selector.unregister(key.fd)
            if not started and b"\n" in said.read:
                deadline, started = time.monotonic() + limits["wall_seconds"], True
            stopped = _excess(printed, said, scratch, limits)
            if not stopped and time.monotonic() > deadline:
                stopped = f"timeout: took longer than {limits['wall_seconds']:g} s" if started else "did not start"
            if stopped:
                return stopped
    return _excess(printed, said, scratch, limits)


def _excess(printed: _Pipe, said: _Pipe, scratch: str, limits: dict[str, Any]) -> str:
    if len(printed.read) > printed.most or len(said.read) > said.most:
        return f"printed more than {printed.most} bytes"
    with os.scandir(scratch) as entries:
        sizes = []
        for entry in entries:
            with contextlib.suppress(OSError):
                sizes.append(entry.stat(follow_symlinks=False).st_blocks * 512)
            if len(sizes) > _SCRATCH_FILES or sum(sizes) > limits["scratch_bytes"]:
                return f"wrote more than {limits['scratch_bytes']} bytes or {_SCRATCH_FILES} files"
    return ""


def _read(pipe: _Pipe) -> bool:
    """Take what there is; whether there may be more to come."""
    try:
        data = os.read(pipe.fd, 65536)
    except BlockingIOError:
        return True
    pipe.read += data
    return bool(data)


def _drain(pipe: _Pipe) -> None:
    """What is left in the pipe of a child that has ended; a writer that outlived it is not waited for."""
    while len(pipe.read) <= pipe.most:
        before = len(pipe.read)
        if not _read(pipe) or len(pipe.read) == before:
            return


def _end(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Kill the child and its session; its exit code and CPU seconds. Reaped last, so the number is still its own.

    It is asked to end first, so that it reaps the program's process and leaves none to whoever is process 1.
    """
    os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            break
        time.sleep(_TICK_SECONDS / 10)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime
