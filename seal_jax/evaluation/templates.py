"""Prompt templates: plain text with {placeholders}, read and filled in one place.

A template has a base form, text that a base model continues (`NAME.txt`), and a chat form, the turns that a chat model
answers (`NAME.chat.txt`), which a user's file may take the place of:

    [system]
    Answer shortly.
    [user]
    {question}

The system turn may be missing. A file without these two lines is, in the chat form, one user turn. Doubled braces
around a word stand for single ones, as in Python's formats: `{{word}}` is the text "{word}".
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from seal_jax.data.chat import DATE

PROMPTS = pathlib.Path(__file__).parent / "prompts"
_WORD = re.compile(r"(\{+)(\w+)(\}+)")
_ROLE = re.compile(r"^\[(system|user)\]$", re.MULTILINE)


class Turns(NamedTuple):
    """What a chat model is given before its own turn; an empty system turn is left out."""

    system: str
    user: str

    def messages(self) -> list[dict[str, str]]:
        """As `[{"role", "content"}]`."""
        return [{"role": role, "content": text} for role, text in self._asdict().items() if text or role == "user"]


def load_template(
    name_or_path: str, fields: Collection[str], folder: pathlib.Path = PROMPTS, optional: Collection[str] = ()
) -> str:
    """The text of a shipped template (`folder/NAME.txt`) or of a file, checked against the fields it must use.

    optional: further fields that it may use.

    The last line end of the file belongs to the file and not to the template, so a template that ends in a line end
    has an empty last line. Raises ValueError naming a placeholder that is unknown or missing, a file that is not
    UTF-8 or one that holds chat turns, and FileNotFoundError naming the shipped templates.
    """
    path, text = _read(name_or_path, fields, folder, ".txt", optional)
    if _ROLE.search(text):
        raise ValueError(f"{path} holds [system] and [user] turns, so it is a chat template: ask in the chat form")
    return text


def load_turns(
    name_or_path: str, fields: Collection[str], folder: pathlib.Path = PROMPTS, optional: Collection[str] = ()
) -> Turns:
    """The turns of a shipped chat template (`folder/NAME.chat.txt`) or of a file, not filled in yet.

    Raises as `load_template`, and ValueError for a shipped template without a chat form, or turns that are not one
    [user] after at most one [system].
    """
    if (folder / f"{name_or_path}.txt").is_file() and not (folder / f"{name_or_path}.chat.txt").is_file():
        raise ValueError(f"template {name_or_path!r} has no chat form; {_known(folder, '.chat.txt')} do")
    path, text = _read(name_or_path, fields, folder, ".chat.txt", optional)
    before, *rest = _ROLE.split(text)
    roles, texts = rest[::2], [part.strip("\n") for part in rest[1::2]]
    if not roles:
        return Turns("", text)
    if before.strip() or roles not in (["user"], ["system", "user"]):
        raise ValueError(f"{path}: expected a line [system], its text, a line [user] and its text, or [user] alone")
    return Turns(texts[0] if len(roles) == 2 else "", texts[-1])


def _read(
    name_or_path: str, fields: Collection[str], folder: pathlib.Path, ending: str, optional: Collection[str]
) -> tuple[pathlib.Path, str]:
    path = folder / f"{name_or_path}{ending}"
    if not path.is_file():
        path = pathlib.Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(f"template {name_or_path!r} is neither a file nor one of {_known(folder, ending)}")
    try:
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text, at byte {error.start}") from None
    found = {match[2] for match in _WORD.finditer(text) if _braces(match) % 2}
    known = {*fields, *optional}
    for wrong, what in ((found - known, "unknown"), (set(fields) - found, "missing")):
        if wrong:
            names = ", ".join(f"{{{name}}}" for name in sorted(wrong))
            hint = "; text in braces is written {{text}}" if what == "unknown" else ""
            raise ValueError(f"{path}: {what} placeholder {names}; this template uses {sorted(known)}{hint}")
    return path, text


def _known(folder: pathlib.Path, ending: str) -> str:
    """The shipped templates of a form: names end in ".txt", and those of chat forms in ".chat.txt"."""
    names = (path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))
    return ", ".join(sorted(name for name in names if not name.endswith(".chat")))


def fill(template: str, **values: str) -> str:
    """The template with each `{name}` replaced by its value; braces inside a value are left alone.

    `{{name}}` becomes the text "{name}", and `{{{name}}}` the value in braces.
    """

    def filled(match: re.Match[str]) -> str:
        before, word, after = match.groups()
        count = _braces(match)
        text = values[word] if count % 2 else word
        return "".join((before[: len(before) - (count + 1) // 2], text, after[(count + 1) // 2 :]))

    return _WORD.sub(filled, template)


def _braces(match: re.Match[str]) -> int:
    """How many pairs of braces are around a word; those on one side only are text."""
    return min(len(match[1]), len(match[3]))


def fill_turns(turns: Turns, **values: str) -> Turns:
    """`fill` of both turns."""
    return Turns(*(fill(text, **values) for text in turns))


def chat(tokenizer: Any, system: str, user: str) -> str:
    """A system turn (none if empty) and a user turn in the tokenizer's chat format, up to the model's turn.

    Where the format refuses a system turn (Gemma 2, early Mistral), its text stands before the user's. Models that
    think before they answer are asked not to. A BOS that the tokenizer would add again on encoding is left out.
    Raises ValueError for a tokenizer without a chat template, or whose template refuses both.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("this tokenizer has no chat template; use the base form of the prompt (leave out chat)")
    text = _formatted(tokenizer, Turns(system, user))
    bos = tokenizer.bos_token
    return text.removeprefix(bos) if bos and tokenizer.encode("")[:1] == [tokenizer.bos_token_id] else text


def _formatted(tokenizer: Any, turns: Turns) -> str:
    from jinja2 import TemplateError

    how = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False, "date_string": DATE}
    try:
        return tokenizer.apply_chat_template(turns.messages(), **how)
    except TemplateError as error:
        if turns.system:
            return _formatted(tokenizer, Turns("", f"{turns.system}\n\n{turns.user}"))
        raise ValueError(f"the tokenizer's chat template refuses the prompt: {error}") from None
