"""RAIN for any number of prompts: the host fills slots, a compiled program searches, the host takes the texts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax

from seal_jax.generation.prompts import Prompt
from seal_jax.generation.settings import typed_key
from seal_jax.generation.stops import ending
from seal_jax.models import Config, Params, unroll
from seal_jax.rain import embeddings
from seal_jax.rain.endings import make_endings
from seal_jax.rain.groups import usual_size
from seal_jax.rain.host import Found, OnFinished, Result, Run, check_slots, judged_sizes, prepare, result
from seal_jax.rain.judge import Judge
from seal_jax.rain.programs import Waiting, finished, programs_for
from seal_jax.rain.settings import Settings
from seal_jax.rain.sizes import check_memory, with_depth
from seal_jax.rain.state import Fixed, Program
from seal_jax.runtime.mesh import mesh_of, use


def search(
    params: Params,
    config: Config,
    prompts: Sequence[Prompt],
    key: jax.Array,
    *,
    judge: Judge,
    settings: Settings | None = None,
    tokenizer: Any = None,
    slots: int = 16,
    group: int | None = None,
    programs: int | None = None,
    stop: str | Sequence[str] | None = None,
    eos: int | Sequence[int] | None = None,
    judged_from: Sequence[int] | None = None,
    embed: Any = None,
    trees: bool = False,
    row_ids: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_finished: OnFinished | None = None,
) -> Result:
    """Continue prompts as RAIN does: search, judge, commit.

    prompts: strings, messages or token ids, as `generation.generate` takes them; key: every draw depends on it, the
    prompt's row id and the place in its tree alone. judge: see `rain.judges`. slots: prompts searched in step; group:
    how many of them share a pass for rollouts, pages and judgements (few on a CPU, all on an accelerator, by default).
    programs: into how many programs that run at once the slots are divided, by default one for each core of a CPU if
    the weights are small, else one. Several run in threads of their own, which do not see what a `with jax....` of the
    caller sets; an interrupt waits for their next return to the host.
    stop, eos: what ends a text, as in `generate`. judged_from: tokens at the beginning of each prompt that the judge is
    not shown, by default the tokenizer's BOS where a prompt begins with it.
    embed: see `rain.embeddings`, by default the mean hidden state. trees: keep every tree before its commit.
    rows: which prompts are searched, all by default. The others are checked and shape the program, so that what is left
    of a stopped job is searched as it would have been. progress: called with the prompts that are finished and all.
    on_finished: called with each prompt's row and what was found, as it is finished; trees are then kept there alone.

    Raises ValueError before any work for what cannot be searched: an empty prompt, a prompt that leaves no room in the
    model's context, a text that does not fit into the judge's, and DoesNotFitError for what is too large for the
    device. A judge that always says the same costs all searches that are allowed (below the value threshold) or few
    (above), and the text then follows the model's own probabilities.
    """
    settings = with_depth(settings or Settings())
    key, end = typed_key(key), ending(config, eos, stop, tokenizer)
    job = prepare(config, prompts, tokenizer, settings, row_ids, judged_from, rows)
    embed = embeddings.hidden_mean() if embed is None else embed
    count = min(check_slots(slots), max(len(prompts), 1))
    number = programs_for(params, count, programs)
    each = -(-count // number)
    size = usual_size(each) if group is None else group
    sizes = judged_sizes(job.longest)
    program = Program(config, settings, job.columns, sizes, min(size, each), embed.width(config), trees)
    judge.check(job.longest)
    check_memory(program, each, params["embed_tokens"]["embedding"].dtype, number)
    tables = make_endings(tokenizer, config.vocab_size, tuple(end.eos), end.stop, eos_ends=settings.eos == "end")
    fixed = Fixed(params if isinstance(params["layers"], tuple) else unroll(params), judge, embed, tables)
    if settings.eos == "released":
        end = ending(config, (), stop, tokenizer)
    waiting, found = Waiting(job.rows), dict[int, Found]()
    with use(mesh_of(params)):
        runs = [Run(program, fixed, job, end, key, each, waiting) for _ in range(number)]
        with contextlib.closing(finished(runs)) as coming:
            for row, one in coming:
                found[row] = one
                if on_finished is not None:
                    on_finished(row, one)
                    found[row] = one._replace(trees=None)  # they are large, and have been handed over
                if progress is not None:
                    progress(len(found), len(job.rows))
    return result(job, found, runs)
