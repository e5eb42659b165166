"""A recorded file: read, and what it is, told by its keys and not by its name."""

from __future__ import annotations

import pathlib
import re
from typing import Any, NamedTuple

from seal_jax.data import json_fields

KINDS = {
    "passages": "passages without completions (squad_*.json)",
    "generated": "passages with their completions",
    "meta": "the .meta beside a file of completions",
    "results": "the results of a ranking or an evaluation",
    "cpt": "the results of continued pretraining",
    "request": "a request to the reference's server",
    "reply": "a reply of the reference's server",
    "sequential": "a summary of sequential edits",
    "few_shot": "the results of the ARC experiment",
    "sft": "rows of prompt and completion",
}
"""What there is, each with its description for messages."""

_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)


class Recorded(NamedTuple):
    """A file that was read: its path, its kind (one of KINDS, or "" for anything else), and its JSON value.

    For a `.jsonl` file the value is the list of its lines' values.
    """

    path: pathlib.Path
    kind: str
    value: Any

    def rows(self) -> list[json_fields.Row]:
        """The items of a list with where each is, for messages."""
        if self.path.suffix == ".jsonl":
            return json_fields.rows(self.path, "passages")
        return json_fields.rows_of(self.value, self.path, "passages")


def read(path: str | pathlib.Path) -> Recorded:
    """Read a file of any kind. ValueError that names the file and the place if it is not UTF-8, not JSON, or empty.

    A comma before a closing bracket, as one of the reference's .meta files has it, is taken in a .meta file.
    """
    path = pathlib.Path(path)
    if path.suffix == ".jsonl":
        value = [item for _, item in json_fields.rows(path, "rows")]
    else:
        text = json_fields.read_text(path)
        if path.suffix == ".meta":
            text = _TRAILING_COMMA.sub(lambda match: match[1] or "", text)
        value = json_fields.parse(text, path)
    return Recorded(path, kind_of(value), value)


def need(found: Recorded, purpose: str, *kinds: str) -> None:
    """Raise ValueError, saying what the file is and what would be right, if it is not one of `kinds`."""
    if found.kind in kinds:
        return
    expected = " or ".join(KINDS[kind] for kind in kinds)
    if found.kind:
        raise ValueError(f"{found.path}: this is {KINDS[found.kind]}; {purpose} takes {expected}")
    value = found.value
    keys = f"an object with the keys {', '.join(list(value)[:12]) or '(none)'}" if isinstance(value, dict) else ""
    items = f"a list of {len(value)}" if isinstance(value, list) else json_fields.named(value)
    raise ValueError(f"{found.path}: not a file that {purpose} knows: {keys or items}; expected {expected}")


def kind_of(value: Any) -> str:
    """Which of KINDS a JSON value is, "" for none. It goes by the outermost keys, of a list by its first item's."""
    if isinstance(value, list) or (isinstance(value, dict) and isinstance(value.get("data"), list)):
        return _kind_of_list(value if isinstance(value, list) else value["data"])
    if not isinstance(value, dict):
        return ""
    keys = value.keys()
    signs = {
        "results": "articles" in keys,
        "sequential": "mean_over_sequences" in keys or "std_over_sequences" in keys,
        "cpt": "server_reply" in keys or "per_article" in keys,
        "reply": {"baseline_correct", "adapter_correct"} <= keys or keys == {"error"},
        "request": isinstance(value.get("train_sequences"), list),
        "meta": "dataset_out" in keys,
        "few_shot": bool(value)
        and all(isinstance(v, dict) and {"task_id", "correct"} & v.keys() for v in value.values()),
    }
    return next((kind for kind, is_it in signs.items() if is_it), "")


def _kind_of_list(items: list[Any]) -> str:
    first = next((item for item in items if isinstance(item, dict)), {})
    if "completions" in first:
        return "generated"
    if "context" in first or "paragraphs" in first:
        return "passages"
    return "sft" if "completion" in first else ""
