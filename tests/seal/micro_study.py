"""A whole study on a tiny random model in seconds. As a program it runs the study and can be killed on the way:

python micro_study.py DIR EVENT     SIGKILL at its EVENT-th write of an item or a stage, which is left half done
"""

import os
import pathlib
import signal
import sys

import jax
import numpy as np

from seal_jax import models, runtime
from seal_jax.data.squad import Passage
from seal_jax.data.worlds import biographies, tokenizer
from seal_jax.data.worlds.vocabulary import ATTRIBUTES
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.seal.settings import Answering, Edits, Inner, PolicyUpdate, Settings
from seal_jax.seal.study import study

SETTINGS = Settings(
    edits=Edits(kind="plain", count=2, top_p=1.0, max_new_tokens=5, rows=4),
    inner=Inner(rank=2, alpha=8.0, learning_rate=1e-2, epochs=2, at_once=4),
    answering=Answering(template="plain", max_new_tokens=4),
    policy=PolicyUpdate(
        rank=2,
        alpha=4.0,
        targets=("q_proj", "v_proj"),
        learning_rate=3e-2,
        epochs=3,
        batch_size=2,
        checkpoint_every=1,
    ),
    reward="loglik",
    seeds=1,
)
TRAIN, TEST, SEED = 2, 3, 5


def model():
    """A random Llama of two layers of 32 with the tokenizer of the worlds."""
    tok = tokenizer.build()
    config = models.Config("llama", len(tok), 32, 48, 2, 4, 2, 8, 512, eos_token_ids=(tok.eos_token_id,))
    # Larger weights than a fresh model's, so that answers are no near-ties.
    params = jax.tree.map(lambda x: x if np.all(x == 1) else 6 * x, models.init(jax.random.key(0), config))
    return models.Model(config, params, tok)


def passages(count, start=0, asked=2):
    """People of two facts in fixed phrasings, 18 tokens or so each, with up to two questions."""

    def one(name):
        who = biographies.person(name)
        facts = [a.statements[0].format(n=name, v=v) for a, v in zip(ATTRIBUTES[1:3], who.values[1:3])]
        rng = np.random.default_rng(0)
        questions = tuple(biographies.question(who, 1 + i, rng) for i in range(asked))
        return Passage(name, " ".join(facts), questions)

    return [one(name) for name in biographies.names("dev")[start : start + count]]


def run(folder, settings=SETTINGS):
    """The study in `folder`; returns the path of its result."""
    with runtime.Run(folder, settings) as run:
        oracle = [f"{q.question} Answer: {q.answer}" for p in passages(TEST) for q in p.questions[:1]]
        found = study(run, model(), [passages(TRAIN, TEST)], passages(TEST), settings, SEED, oracle)
        run.finish(found)
    return pathlib.Path(folder) / "result.json"


def die_at(event):
    """Kill this process at its `event`-th write of an item (whose line is torn), a checkpoint or a finished stage."""
    count, module = 0, runtime.run
    add, save, write = runtime.Items.add, Checkpointer.save, module.write_json

    def last():
        nonlocal count
        count += 1
        return count == event

    def torn_add(self, id, value):
        if last():
            self._lines._handle.write(b'{"id": "' + str(id).encode())
            self._lines._handle.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return add(self, id, value)

    def no_save(self, *args, **how):
        if last():
            os.kill(os.getpid(), signal.SIGKILL)
        return save(self, *args, **how)

    def no_write(path, value):
        if last():
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, value)

    runtime.Items.add, Checkpointer.save, module.write_json = torn_add, no_save, no_write


if __name__ == "__main__":
    die_at(int(sys.argv[2]))
    run(sys.argv[1])
