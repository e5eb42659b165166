"""ARC on a tiny random model with the tokenizer of the worlds: tasks, settings and edits of few shapes."""

import dataclasses
import pathlib

import jax
import numpy as np

from seal_jax import models
from seal_jax.data.arc import Example, Task
from seal_jax.data.worlds import tokenizer
from seal_jax.seal.arc.schema import EditConfig
from seal_jax.seal.arc.settings import Edits, Prediction, Settings, TestTime
from seal_jax.seal.settings import PolicyUpdate

SETTINGS = Settings(
    edits=Edits(template="arc-edit-plain", chat=False, count=3, tested=1, max_new_tokens=8, attempts=2),
    ttt=TestTime(rank=2, alpha=4.0, warmup=2, max_sequences=5, at_once=2),
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
    edit(strategy=ALL, rate=2e-2, epochs=1).to_json(),
    edit(rate=1e-3, epochs=200).to_json(),  # too many steps
    "{}",
    "not an edit",
    edit(strategy=ALL, rate=3e-2, epochs=0).to_json(),
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

    write, judge = policy._drawn, predict.judge

    def lenient(task, posed, answers, how, single=False):
        found = judge(task, posed, answers, how, single)
        return {**found, "correct": sum(map(len, answers)) % 2 == 0}

    policy._drawn, predict.judge = drawn, lenient
    try:
        with runtime.Run(folder, settings) as run:
            made = texts.Texts(model().tokenizer, 512, settings, SEED)
            run.finish(study.study(run, model(), rounds, TEST, made, edit(rate=5e-2)))
    finally:
        policy._drawn, predict.judge = write, judge
    return pathlib.Path(folder) / "result.json"


def llama_like(tok, loss="reference"):
    """Texts of a tokenizer that adds a BOS by itself and whose chat form has headers, as Llama's does."""
    import copy

    from tokenizers.processors import TemplateProcessing

    from seal_jax.seal.arc.texts import Texts

    made = copy.deepcopy(tok)
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tok.bos_token_id)]
    )
    made.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m['content'] %}{{ m['role'] + '\n' + m['content'] + eos_token }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
    )
    settings = dataclasses.replace(SETTINGS, ttt=dataclasses.replace(SETTINGS.ttt, loss=loss))
    return Texts(made, 512, settings, SEED)
