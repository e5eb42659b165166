"""The command line: `seal-jax COMMAND ...`.

A command is one file here that defines `Command`: a frozen dataclass whose fields are its arguments (tyro turns them
into flags, their docstrings into help) and whose `__call__` does the work and returns a `Report`; or, for a command
with sub-commands, a union of such dataclasses. To add one, write the file and its row in `COMMANDS`. Only the file of
the command asked for is imported, and jax only when it is called, but for commands whose settings bring it along (plan,
rain, svf, continual).
"""

from seal_jax.cli.main import COMMANDS, main

__all__ = ["COMMANDS", "main"]
