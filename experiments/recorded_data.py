"""The released data of SEAL, computed again: sequences, selection, aggregation and subsets beside what was recorded.

Claim     training sequences, selected edits, statistics and passage order are those of the reference, to the byte
Command   python -m experiments.recorded_data --data DIR --squad FILE   (generated/, ranking/, ... in DIR)
Hardware  one CPU core, seconds; no model is run
Expected  "equal" in every row but that of the pooled standard deviations, which the reference does not use
Last run  2026-11-21: as expected (docs/seal.md, "Recorded data")
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import pathlib
from collections.abc import Iterator

from seal_jax.data import read_items
from seal_jax.seal import recorded

# How many sequences the reference's code makes of completion 0, whole and in lines, with their SHA-256; ALL: of all.
SEQUENCES = (
    ("base_val", 200, 0, "400 a58ad9ff1bcf", "1714 62f8d33a8e0c"),
    ("gpt4_1_val", 200, 0, "427 55cb85621861", "3034 88dffd565d39"),
    ("iter0_train", 50, 0, "100 abc72e8f6b39", "422 f2836390df1c"),
    ("iter0_train_prompt-self-qa", 50, 0, "100", "663 32b78f103fb5"),
)
ALL = {"base_val": "2000", "gpt4_1_val": "2082", "iter2_val": "2000", "naive_val": "400"}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The folder of recorded files, and the file that the passages of its evaluations were drawn from."""

    data: pathlib.Path
    squad: pathlib.Path


def sequence_rows(data: pathlib.Path) -> Iterator[tuple[str, ...]]:
    """Counts and digests of training sequences, of the files that are there."""
    for name, n, completion, *expected in (*SEQUENCES, *((name, 200, None, n) for name, n in ALL.items())):
        for lines, theirs in enumerate(expected if (path := data / "generated" / f"{name}.json").is_file() else ()):
            found = recorded.sequences(path, n, completion, bool(lines))
            ours = " ".join([str(len(found.texts)), found.digest()[:12]][: len(theirs.split())])
            which = f"{n} passages, completion {'all' if completion is None else 0}{', in lines' * lines}"
            yield f"sequences {name}", which, ours, theirs


def selection_rows(data: pathlib.Path) -> Iterator[tuple[str, ...]]:
    """The digest of every selected set, and of the stored one."""
    for path in sorted((data / "ranking").glob("rank_*.json")):
        stored = data / "sft" / path.name.replace("rank_", "sft_best1of5_").replace(".json", ".jsonl")
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in recorded.selection(path).rows]
        ours, theirs = (hashlib.sha256(text).hexdigest() for text in ("".join(lines).encode(), stored.read_bytes()))
        yield f"select {path.stem}", f"{len(lines)} rows", ours[:16], theirs[:16]


def aggregate_rows(data: pathlib.Path) -> Iterator[tuple[str, ...]]:
    """Every statistic that a file of results stores, in its order."""
    for path in sorted(file for folder in ("ranking", "eval", "cpt") for file in (data / folder).glob("*.json")):
        stored = {key: v for key, v in json.loads(path.read_bytes())["overall"].items() if v is not None}
        found = recorded.aggregate([path]).result["overall"]
        ours, theirs = (" ".join(f"{figures[key]:.4f}" for key in stored) for figures in (found, stored))
        yield f"aggregate {path.stem}", f"{len(stored)} statistics", ours, theirs


def sequential_rows(data: pathlib.Path) -> Iterator[tuple[str, ...]]:
    """Means and both standard deviations of sequential edits: the first row, and how many of all cells are equal."""
    stored = json.loads((data / "continual/overall_results.json").read_text(encoding="utf-8"))
    found = recorded.aggregate([data / "continual"]).result
    for name, ours in {"mean": found["overall"]["mean_over_sequences"], **found["standard_deviations"]}.items():
        theirs = stored["mean_over_sequences" if name == "mean" else "std_over_sequences"]
        equal = [a == b for r in range(9) for a, b in zip(ours[r][: r or 8], theirs[r])]
        first, same = (" ".join(f"{value:.4f}" for value in matrix[0]) for matrix in (ours, theirs))
        yield f"aggregate continual: {name}", f"row 0; {sum(equal)} of {len(equal)} cells equal", first, same


def subset_rows(data: pathlib.Path, squad: pathlib.Path) -> Iterator[tuple[str, ...]]:
    """How many passages of each evaluation file are those that shuffling with seed 42 puts there."""
    for path in sorted((data / "generated").glob("*_val*.json")):
        items = read_items(path)
        found = zip(recorded.subset(squad, len(items)).items, items)
        same = sum(all(item[key] == value for key, value in ours.items()) for ours, item in found)
        yield f"subset {path.stem}", "passages in order", str(same), str(len(items))


def main(args: Arguments) -> None:
    """Print the table."""
    print("| file | what | ours | recorded | |\n|---|---|---|---|---|")
    parts = [part(args.data) for part in (sequence_rows, selection_rows, aggregate_rows, sequential_rows)]
    for name, what, ours, theirs in itertools.chain(*parts, subset_rows(args.data, args.squad)):
        print(f"| {name} | {what} | {ours} | {theirs} | {'equal' if ours == theirs else 'not equal'} |")


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Arguments))
