"""Ranking self-edits end to end: edits per second, and where the time goes.

50 people of the biographies world, 5 edits each, 3 fine-tunes an edit, through the same functions as `seal-jax seal
train` (which keep every outcome on disk): write the edits, train and ask 750 adapters, select. The first pass compiles;
the second, on 50 other people, is what a long run is made of. Nothing but compiled programs counts as "writing",
"training" or "answering": the rest of the time on the clock (tokenising, batching, stop strings, grading, files) is
"host". For this, programs do not overlap with the host, as they otherwise may.

    python -m benchmarks.ranking [--json] [--passages 50] [--edits 5] [--seeds 3]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import _measure
from seal_jax import models
from seal_jax.data.squad import Passage
from seal_jax.data.worlds import biographies
from seal_jax.runtime import Run
from seal_jax.runtime.clock import measure
from seal_jax.seal import demo, knowledge, rest_em
from seal_jax.seal.settings import Settings

GOALS = {"host_share": 0.10}


def run(passages: int = 50, edits: int = 5, seeds: int = 3) -> dict[str, Any]:
    """Two passes, on different people; shares are of the second one's seconds."""
    model = models.from_pretrained(demo.CHECKPOINT)
    writing = dataclasses.replace(demo.SETTINGS.edits, count=edits)
    settings = dataclasses.replace(demo.SETTINGS, edits=writing, seeds=seeds)
    people = [biographies.passages("dev", passages, start=start) for start in (0, passages)]
    first, second = (_rank(model, chosen, settings) for chosen in people)
    return {
        "benchmark": "ranking",
        **_measure.machine(),
        "passages": passages,
        "edits": passages * edits,
        "fine_tunes": passages * edits * seeds,
        "first_pass": first,
        "second_pass": second,
        "host_share": second["share"]["host"],
        "goals": GOALS,
    }


def _rank(model: models.Model, passages: Sequence[Passage], settings: Settings) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, Run(pathlib.Path(folder), settings) as kept:
        began = time.perf_counter()
        with measure() as writing:
            edits = knowledge.write_all(kept, "edits", model, passages, settings.edits, seed=0)
        with measure() as trying:
            scores = knowledge.score_edits(kept, "trials", model, passages, edits, settings, range(settings.seeds))
        rest_em.select(scores.rewards(settings.reward), edits)
        seconds = time.perf_counter() - began
    spent = {
        "writing": sum(writing.values()),
        "training": trying["training"],
        "answering": trying["decoding"] + trying["scoring"],
    }
    spent["host"] = seconds - sum(spent.values())
    return {
        "edits_per_second": len(passages) * settings.edits.count / seconds,
        "seconds": seconds,
        "share": {name: s / seconds for name, s in spent.items()},
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line (`argv` without the program's name); prints and returns the result."""
    parser = argparse.ArgumentParser(prog="ranking", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--passages", type=int, default=50)
    parser.add_argument("--edits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args(argv)
    result = run(given.passages, given.edits, given.seeds)
    print(json.dumps(result, indent=None if given.json else 2))
    return result


if __name__ == "__main__":
    main()
