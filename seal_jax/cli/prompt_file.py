"""Files of prompts: text, one a line, or JSON with messages and adapters."""

from __future__ import annotations

import json
import pathlib
from typing import Any, NamedTuple, NoReturn

from seal_jax.data.json_fields import rows

_PROMPT = '{"prompt": "text"} or {"messages": [{"role": ..., "content": ...}]}'
EXPECTED = {
    "adapter": f'{_PROMPT}, and "adapter": "DIR" for one of its own',
    "expert": f'{_PROMPT}, and "expert": "NAME", or null for the base model',
    None: _PROMPT,
}


class Asked(NamedTuple):
    """One prompt, text or a list of messages, and the adapter its line names: a directory or a name, None for the base
    model, or "" where the line names none."""

    prompt: str | list[dict[str, Any]]
    adapter: pathlib.Path | str | None = ""


def read_prompts(path: pathlib.Path, choice: str | None = "adapter") -> list[Asked]:
    """The prompts of a text file, one a line, or of a .jsonl or .json file of objects; blank lines are left out.

    An object has `"prompt"`, text, or `"messages"`, and may have `"adapter"`: a directory, relative to the file's, or
    null for the base model. Other keys are ignored. choice: the key that is read for it; one of another name holds a
    name in place of a directory; None reads none.

    Raises ValueError naming file and line (or item) for a line that is not UTF-8 or not such an object, or if there is
    none.
    """
    if path.suffix == ".json":
        return [_asked(row, where, path.parent, choice) for where, row in rows(path, "prompts") or _none(path)]
    prompts = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        where = f"{path} line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            before, byte = error.object[: error.start].decode(), error.object[error.start]  # less a byte-order mark
            raise ValueError(f"{where} is not UTF-8: byte 0x{byte:02x} at column {len(before) + 1}") from None
        if text.strip():
            jsonl = path.suffix == ".jsonl"
            prompts.append(_asked(_parsed(text, where), where, path.parent, choice) if jsonl else Asked(text))
    return prompts or _none(path)


def _none(path: pathlib.Path) -> NoReturn:
    raise ValueError(f"{path} has no prompts in it")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None


def _asked(row: Any, where: str, folder: pathlib.Path, choice: str | None) -> Asked:
    names = {"prompt": str, "messages": list}
    kinds = [name for name in names if isinstance(row, dict) and name in row]
    if len(kinds) != 1 or not isinstance(row[kinds[0]], names[kinds[0]]):
        raise ValueError(f"{where}: expected {EXPECTED[choice]}; found {json.dumps(row, ensure_ascii=False)[:80]}")
    adapter = row.get(choice, "") if choice else ""
    kind = "directory" if choice == "adapter" else "name"
    if adapter is not None and not isinstance(adapter, str):
        raise ValueError(f"{where}: {choice} is {adapter!r}, not a {kind} or null")
    return Asked(row[kinds[0]], folder / adapter if adapter and choice == "adapter" else adapter)
