"""Training an expert on a tiny random model in seconds. As a program it does so and can be killed on the way:

python micro_training.py DIR METHOD SAVE     SIGKILL at the SAVE-th checkpoint, before it is written
"""

import os
import signal
import sys

import jax
import toy_tasks

from seal_jax import adapters, runtime
from seal_jax.runtime.checkpoint import Checkpointer
from seal_jax.transformer2 import reinforce, supervised, train_expert

SETTINGS = {
    "reinforce": reinforce.Settings(
        iterations=5,
        batch_size=6,
        samples=2,
        temperature=1.0,
        baseline="mean",
        learning_rate=0.3,
        schedule="cosine",
        clip=1.0,
        eval_every=2,
    ),
    "supervised": supervised.Settings(iterations=4, batch_size=6, learning_rate=0.1, eval_every=2),
}


def grade(problem, text):
    """Half of what a random model says begins so."""
    return text.strip()[:1].lower() in "abcdefghijklm" and text.strip() != ""


def run(folder, method="reinforce", model=None, settings=None, **how):
    """An SVF expert of the toy task in `folder`."""
    model = model or toy_tasks.model()
    factors = adapters.svf.factor(model.params)
    expert = adapters.svf.init(jax.random.key(0), factors)
    settings = settings or SETTINGS[method]
    task = toy_tasks.task(grade, max_new_tokens=2)
    with runtime.Run(folder, {"method": method}) as run:
        return train_expert(run, model, expert, factors, task, settings, **how)


def die_at(save):
    """Kill this process at its `save`-th checkpoint."""
    count, write = 0, Checkpointer.save

    def no_save(self, *args, **how):
        nonlocal count
        count += 1
        if count == save:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(self, *args, **how)

    Checkpointer.save = no_save


if __name__ == "__main__":
    die_at(int(sys.argv[3]))
    run(sys.argv[1], sys.argv[2])
