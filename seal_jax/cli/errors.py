"""Errors of the user's are told in one line, and become the exit code of the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from seal_jax.runtime.lock import DirectoryInUseError

INTERRUPTED = 130  # what shells use for a process ended by Ctrl-C
PIPE_CLOSED = 141  # and for one whose output nobody reads any more


def exit_code(work: Callable[[], Any], program: str, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Do the work and return the exit code of the process, telling on standard error what went wrong.

    0: done. 2: wrong arguments or bad input (ValueError, OSError, DirectoryInUseError), in one line; with
    SEAL_JAX_DEBUG=1 the error is raised instead. 130: stopped by Ctrl-C. 141: the reader of a pipe has gone. Anything
    else is a bug and is raised. program: begins the line. goes_on: whether work that was stopped is kept.
    """
    try:
        work()
    except BrokenPipeError:  # the reader of a pipe, `| head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except (ValueError, OSError, DirectoryInUseError) as error:
        if os.environ.get("SEAL_JAX_DEBUG") == "1":
            raise
        return fail(_message(error), program)
    except KeyboardInterrupt:
        kept = "; what was finished is kept, and the same command goes on from there"
        fail(f"stopped{kept if goes_on() else ''}", program)
        return INTERRUPTED
    return 0


def fail(message: str, program: str) -> int:
    """Print "PROGRAM: error: MESSAGE" on standard error, and return 2."""
    print(f"{program}: error: {message}", file=sys.stderr)
    return 2


def leave(code: int) -> None:
    """End the process with its exit code."""
    if code == INTERRUPTED:
        # Threads of XLA that are still at work crash while the interpreter is taken down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
