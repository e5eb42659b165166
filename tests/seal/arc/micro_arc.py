"""ARC on a tiny random model with the tokenizer of the worlds: tasks, settings and edits of few shapes."""

import pathlib

import jax
import numpy as np

from seal_jax import models
from seal_jax.data.arc import Example, Task
from seal_jax.data.worlds import tokenizer
from seal_jax.seal.arc.edits import EditConfig
from seal_jax.seal.arc.settings import Edits, Prediction, Settings, TestTime
from seal_jax.seal.settings import PolicyUpdate

SETTINGS = Settings(
    edits=Edits(template="arc-edit-plain", chat=False, count=3, tested=1, max_new_tokens=8, attempts=2),
    ttt=TestTime(rank=2, alpha=4.0, warmup=2, max_sequences=5, at_once=4),
    prediction=Prediction(permute_n=0, max_new_tokens=6),
    policy=PolicyUpdate(rank=2, alpha=4.0, targets=("q_proj",), epochs=2, batch_size=2, schedule="cosine"),
    instruction="",
)
SEED = 5
OUTPUT, ALL = "train_using_output_tokens", "train_using_all_tokens"


def model():
    """A random Llama of two layers of 32 with the tokenizer of the worlds."""
    tok = tokenizer.build()
    config = models.Config("llama", len(tok), 32, 48, 2, 4, 2, 8, 512, eos_token_ids=(tok.eos_token_id,))
    params = jax.tree.map(lambda x: x if np.all(x == 1) else 6 * x, models.init(jax.random.key(0), config))
    return models.Model(config, params, tok)


def task(number, demos=3, tests=1, side=2):
    """A task of square grids; the output is the input with its rows reversed."""
    rng = np.random.default_rng(number)

    def example():
        rows = tuple(tuple(map(int, row)) for row in rng.integers(0, 10, (side, side)))
        return Example(rows, rows[::-1])

    examples = [example() for _ in range(demos + tests)]
    return Task(f"task{number}", tuple(examples[:demos]), tuple(examples[demos:]))


def edit(groups=(), strategy=OUTPUT, rate=1e-2, epochs=2):
    """An edit."""
    return EditConfig(tuple(groups), strategy, rate, epochs)


RESPONSES = (
    edit().to_json(),
    edit(("basic",), ALL, 2e-2, 1).to_json(),
    edit(("size",), OUTPUT, 1e-3, 200).to_json(),  # too many steps
    "{}",
    "not an edit",
    edit((), ALL, 3e-2, 0).to_json(),
)
TRAIN, TEST = [task(n) for n in range(2)], [task(n) for n in range(10, 13)]


def drawn(model, encoded, rows, texts, seed):
    """In place of what a model would write: a response chosen by the number of the draw and by the weights."""
    weight = int(1e6 * float(np.abs(np.asarray(jax.tree.leaves(model.params)[0])).sum()))
    return [RESPONSES[(row + weight + seed) % len(RESPONSES)] for row in rows]


def run(folder, settings=SETTINGS, rounds=(TRAIN,)):
    """A study whose responses are `drawn`, and whose edits solve their task by number; returns the result's path."""
    from seal_jax import runtime
    from seal_jax.seal.arc import policy, predict, study, texts

    policy._drawn, judge = drawn, predict.judge

    def lenient(task, posed, answers, how, single=False):
        found = judge(task, posed, answers, how, single)
        return {**found, "correct": sum(map(len, answers)) % 2 == 0}

    predict.judge = lenient
    try:
        with runtime.Run(folder, settings) as run:
            made = texts.Texts(model().tokenizer, 512, settings, SEED)
            run.finish(study.study(run, model(), rounds, TEST, made, edit(("basic",))))
    finally:
        predict.judge = judge
    return pathlib.Path(folder) / "result.json"
