"""Where a row ends: EOS tokens and stop strings."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from seal_jax.generation.checks import is_number
from seal_jax.models import Config


@dataclasses.dataclass(frozen=True)
class Ending:
    """What ends a row: any token of `eos`, or any string of `stop` in the text generated so far.

    `tokens` (bool `[V]`) marks the tokens that end a row by themselves, whatever precedes them: EOS, and tokens whose
    own text contains a stop string. They stop the compiled loop; `cut` gives the exact end.
    """

    eos: frozenset[int]
    stop: tuple[str, ...]
    tokens: np.ndarray
    tokenizer: Any

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of generated tokens, without special tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def spelled(self, tokens: Sequence[int]) -> bool:
        """True if the text of `tokens` contains a stop string."""
        text = self.decode(tokens)
        return any(s in text for s in self.stop)

    def cut(self, tokens: list[int]) -> tuple[int, str | None, bool]:
        """How many tokens to keep, their text (None without a tokenizer), and whether the row ended by itself.

        The row ends with the first token that is in `tokens`, or after which the text contains a stop string. An EOS
        is cut off. A stop string and all after it is cut off the text; the tokens kept are those wholly before it.
        """
        marked = np.flatnonzero(self.tokens[tokens]) if tokens else ()
        ended = len(marked) > 0
        if ended:
            tokens = tokens[: marked[0] + (tokens[marked[0]] not in self.eos)]
        if self.tokenizer is None:
            return len(tokens), None, ended
        if self.stop and self.spelled(tokens):
            return *self._before_stop(tokens), True
        return len(tokens), self.decode(tokens), ended

    def _before_stop(self, tokens: list[int]) -> tuple[int, str]:
        count = bisect.bisect_left(range(len(tokens)), True, key=lambda n: self.spelled(tokens[:n]))
        text = self.decode(tokens[:count])
        text = text[: min(text.index(s) for s in self.stop if s in text)]
        while not text.startswith(self.decode(tokens[:count])):
            count -= 1
        return count, text


def ending(config: Config, eos: int | Sequence[int] | None, stop: str | Sequence[str] | None, tokenizer: Any) -> Ending:
    """Check and complete what the caller asked for; `eos=None` means the config's EOS ids and the tokenizer's.

    A stop string that is the name of a special token ("<|im_end|>") is not in any text; it counts as an EOS. Ids of
    config and tokenizer outside the model's vocabulary, which it cannot say, are left out.

    Raises ValueError for a stop string without a tokenizer, an empty one, or what is not a string; and for an EOS of
    the caller that is not an id of the vocabulary.
    """
    given = _given_eos(eos, config.vocab_size)
    stop = (stop,) if isinstance(stop, str) else tuple(stop or ())
    for text in stop:
        if not isinstance(text, str):
            raise ValueError(f"stop has {text!r}: expected strings; token ids that end a row go to eos=")
    if stop and tokenizer is None:
        raise ValueError(f"stop={stop!r} needs tokenizer=: stop strings are found in decoded text")
    if "" in stop:
        raise ValueError("stop has an empty string, which is in every text; leave it out")
    own = getattr(tokenizer, "eos_token_id", None) if given is None else None
    known = config.eos_token_ids if given is None else given
    special = _special_tokens(tokenizer) if stop else {}
    known = (*known, *(() if own is None else (own,)), *(special[s] for s in stop if s in special))
    ids = frozenset(token for token in known if 0 <= token < config.vocab_size)
    stop = tuple(s for s in stop if s not in special)
    table = np.zeros(config.vocab_size, bool)
    table[list(ids)] = True
    if stop:
        table |= _containing(tokenizer, stop, config.vocab_size)
    return Ending(ids, stop, table, tokenizer)


def _given_eos(eos: Any, vocab_size: int) -> tuple[int, ...] | None:
    if eos is None:
        return None
    ids: tuple[Any, ...] = (eos,) if is_number(eos) or isinstance(eos, str) else tuple(eos)
    for token in ids:
        if not is_number(token, np.integer):
            raise ValueError(f"eos has {token!r}: expected token ids; strings that end a row go to stop=")
        if not 0 <= token < vocab_size:
            raise ValueError(f"eos has token {token}, outside the vocabulary 0..{vocab_size - 1}")
    return tuple(map(int, ids))


def _special_tokens(tokenizer: Any) -> dict[str, int]:
    return {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}


@lru_cache(maxsize=8)
def _containing(tokenizer: Any, stop: tuple[str, ...], vocab_size: int) -> np.ndarray:
    texts = tokenizer.batch_decode([[token] for token in range(vocab_size)], skip_special_tokens=True)
    return np.array([any(s in text for s in stop) for text in texts])
