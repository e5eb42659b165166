"""From a judge's template to token ids, once: a text is put between pieces that are tokenised beforehand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from seal_jax.evaluation.templates import chat
from seal_jax.generation.prompts import encode_one
from seal_jax.models import Config
from seal_jax.rain.judges.template import Form, Template

# What the text before a piece may end in; tried in turn until the piece does not merge with it.
_ENDS = ("a", "x", ".", "0", "!", "é")
_MARK = "\ue002"


class Pieces(NamedTuple):
    """A judge's prompt as tokens: `prefix + text + common + branches[o]`, and the answers that may follow in order o.

    prefix, common: int32 `[P]` and `[C]`; branches: int32 `[L_o]`, one or more tokens each; answers: int32 `[O, K, M]`,
    the token that each spelling of each choice begins with, -1 where a choice has fewer spellings.
    """

    prefix: np.ndarray
    common: np.ndarray
    branches: tuple[np.ndarray, ...]
    answers: np.ndarray

    @property
    def extra(self) -> int:
        """Tokens processed for a text beside its own."""
        return len(self.common) + sum(map(len, self.branches))

    @property
    def room(self) -> int:
        """Positions that prefix and question take; a text has the others."""
        return len(self.prefix) + len(self.common) + max(map(len, self.branches))


def tokenise(
    template: Template, config: Config, tokenizer: Any, shots: int | None = None, in_chat: bool = False
) -> Pieces:
    """The template's prompt as tokens. in_chat: as a user's turn, whose answer is opened with the template's last line.

    An answer's token is the one by which the answers' tokenisations, after the same opening, first differ.
    Raises ValueError, naming the file, for answers that this tokenizer does not tell apart by one token, a tokenizer
    without a chat template, and tokens outside the vocabulary.
    """
    forms = [template.form(order, shots) for order in range(template.orders)]
    if in_chat:
        forms = [_in_chat(form, tokenizer) for form in forms]
    openings, answers = zip(*(_answers(template, form, tokenizer) for form in forms))
    split = min(_same(openings), min(map(len, openings)) - 1)
    pieces = Pieces(
        prefix=_prefix(f"the prompt of {template.source}", forms[0].before, config, tokenizer),
        common=np.asarray(openings[0][:split], np.int32),
        branches=tuple(np.asarray(opening[split:], np.int32) for opening in openings),
        answers=np.stack(answers),
    )
    largest = max(int(part.max(initial=0)) for part in (pieces.common, *pieces.branches, pieces.answers))
    if largest >= config.vocab_size:
        raise ValueError(f"{template.source}: token {largest} is outside the vocabulary 0..{config.vocab_size - 1}")
    return pieces


def _in_chat(form: Form, tokenizer: Any) -> Form:
    """The same as a user's turn; the last line of the opening, where the answer is, begins the model's turn."""
    head, _, last = form.opening.rpartition("\n")
    before, _, after = chat(tokenizer, "", f"{form.before}{_MARK}{head}").partition(_MARK)
    return form._replace(before=before, opening=after + last)


def _prefix(name: str, text: str, config: Config, tokenizer: Any) -> np.ndarray:
    """What comes before a text, with the special tokens that open a sequence and without one that would close it."""
    tokens = encode_one(name, text, config, tokenizer) if text else np.asarray(tokenizer.encode(""), np.int32)
    ends = len(tokens) and tokens[-1] == tokenizer.eos_token_id and tokenizer.eos_token_id != tokenizer.bos_token_id
    return tokens[:-1] if ends else tokens


def _answers(template: Template, form: Form, tokenizer: Any) -> tuple[list[int], np.ndarray]:
    """The tokens of the opening, and the first token of each spelling of each answer `[K, M]`, -1 for none.

    The first spellings have to differ there. A further one that begins as another answer does not count.
    """
    words = [word for spellings in form.answers for word in spellings]
    whole = dict(zip(words, _continued(tokenizer, [form.opening + word + form.after for word in words])))
    main = [spellings[0] for spellings in form.answers]
    split = _same([whole[word] for word in main])
    if not split or any(len(whole[word]) == split for word in main):
        raise ValueError(f"{template.source}: after the question this tokenizer does not tell the answers {main} apart")
    opening = whole[main[0]][:split]
    owner: dict[int, str] = {}
    for word in main:
        if (other := owner.setdefault(whole[word][split], word)) != word:
            raise ValueError(f"{template.source}: {other!r} and {word!r} begin with the same token of this tokenizer")
    ids = [_first_tokens([whole[word] for word in spellings], opening, owner) for spellings in form.answers]
    widest = max(map(len, ids))
    return opening, np.array([[*row, *[-1] * (widest - len(row))] for row in ids], np.int32)


def _first_tokens(spellings: Sequence[list[int]], opening: list[int], taken: Collection[int]) -> list[int]:
    """The token after the opening of each spelling of one answer, the first and those that are not taken."""
    first = [tokens[len(opening)] for tokens in spellings if tokens[: len(opening)] == opening]
    return list(dict.fromkeys([first[0], *(token for token in first[1:] if token not in taken)]))


def _continued(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Each text's tokens where it follows another text, whose last token it leaves as it is."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    for end in _ENDS:
        before = encode(end)
        whole = [encode(end + text) for text in texts]
        if all(tokens[: len(before)] == before for tokens in whole):
            return [tokens[len(before) :] for tokens in whole]
    return [encode(text) for text in texts]


def _same(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with."""
    count = 0
    for column in zip(*sequences):
        if len(set(column)) > 1:
            break
        count += 1
    return count
