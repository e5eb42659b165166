"""Settings of the commands that use but a part of them: what is `Fixed` is no flag and not in config.json."""

from __future__ import annotations

import dataclasses

from tyro.conf import Fixed

from seal_jax.seal.settings import Answering, Edits, Inner, PolicyUpdate, Reward, Select, Settings

# Of every model, so that estimates of memory can be made; nothing is trained with it.
_NO_INNER, _ANSWERING, _POLICY = Inner(targets=("all",)), Answering(), PolicyUpdate()


@dataclasses.dataclass(frozen=True)
class Untrained(Settings):
    """Settings where no policy is trained and nothing selected."""

    policy: Fixed[PolicyUpdate] = _POLICY
    reward: Fixed[Reward] = "loglik"
    seeds: Fixed[int] = 1
    k_best: Fixed[int] = 1
    select: Fixed[Select] = "best"


@dataclasses.dataclass(frozen=True)
class OneEdit(Edits):
    """How self-edits are written. `max_new_tokens` is cut where prompt and edit would exceed the context."""

    count: Fixed[int] = 1


@dataclasses.dataclass(frozen=True)
class EditOfEach(OneEdit):
    """How self-edits are written. `max_new_tokens` is cut where prompt and edit would exceed the context."""

    rows: Fixed[int] = 32


@dataclasses.dataclass(frozen=True)
class Writing(Untrained):
    """Settings of `seal edits`: how edits are written."""

    inner: Fixed[Inner] = _NO_INNER
    answering: Fixed[Answering] = _ANSWERING


@dataclasses.dataclass(frozen=True)
class Evaluating(Untrained):
    """Settings of `seal evaluate`: one edit of each passage, the inner loop, the questions."""

    edits: OneEdit = OneEdit()


@dataclasses.dataclass(frozen=True)
class Pretrained(Untrained):
    """Settings of `seal cpt` beside those of its fine-tune: how edits are written and questions asked."""

    inner: Fixed[Inner] = _NO_INNER


@dataclasses.dataclass(frozen=True)
class InSequence(Untrained):
    """Settings of `seal sequential`: an edit of each sequence at once, the inner loop, the questions."""

    edits: EditOfEach = EditOfEach()
