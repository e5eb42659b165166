"""`seal-jax seal sequences|select|aggregate|subset`: recorded data in, a file or statistics out. No model is run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import TYPE_CHECKING, Any, Literal

from seal_jax.cli.options import at_least
from seal_jax.cli.report import Report
from seal_jax.runtime.files import dumps, write_atomic

if TYPE_CHECKING:
    from seal_jax.seal import recorded


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequences:
    """Write the training sequences that completions become, one JSON string a line."""

    completions: pathlib.Path
    """Passages with their completions, as `seal edits` and the reference write them; or results that contain them."""
    out: pathlib.Path
    """The .jsonl file to write; one that is there is replaced."""
    n: int = 0
    """The first n passages in the order of the file; 0 or less is all."""
    completion: int | Literal["all"] = 0
    """Which of a passage's completions; 0 is the first. With all, the passage comes once for each, as in continued
    pretraining."""
    split_newlines: bool = False
    """Cut completions into lines, or into question-answer pairs, as single-passage training does."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def check(self) -> None:
        """Raise ValueError for arguments out of their range, and an --out that cannot be written."""
        if self.completion != "all":
            at_least(0, completion=self.completion)
        _check_out(self.out, self.completions)

    def __call__(self) -> Report:
        """Read and write."""
        from seal_jax.seal import recorded

        which = None if self.completion == "all" else self.completion
        found = recorded.sequences(self.completions, self.n, which, self.split_newlines)
        write_atomic(self.out, "".join(_line(text) for text in found.texts))
        result = {"out": self.out, "items": found.items, "sequences": len(found.texts), "sha256": found.digest()}
        return _report(result, found.notes, f"{len(found.texts)} sequences of {found.items} passages are in {self.out}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Select:
    """Write the best completions of a ranking as rows of prompt and completion, for training the policy."""

    results: pathlib.Path
    """The results of a ranking: articles with completions, their statistics and verdicts."""
    out: pathlib.Path
    """The .jsonl file to write; one that is there is replaced."""
    k_best: int = 1
    """How many completions of a passage at most, best first."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def check(self) -> None:
        """Raise ValueError for arguments out of their range, and an --out that cannot be written."""
        at_least(1, k_best=self.k_best)
        _check_out(self.out, self.results)

    def __call__(self) -> Report:
        """Read and write."""
        from seal_jax.seal import recorded, rest_em

        found = recorded.selection(self.results, self.k_best)
        rest_em.write_sft_jsonl(self.out, found.rows)
        digest = hashlib.sha256(self.out.read_bytes()).hexdigest()
        result = {"out": self.out, "articles": len(found.chosen), "rows": len(found.rows), "sha256": digest}
        return _report(result, found.notes, f"{len(found.rows)} rows of {len(found.chosen)} passages are in {self.out}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aggregate:
    """Recompute the statistics of recorded results from their verdicts."""

    results: tuple[pathlib.Path, ...]
    """A file of results (ranking, evaluation, continued pretraining, ARC), or summaries of sequential edits: one, the
    several runs of a set, or their directory."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def __call__(self) -> Report:
        """Read and compute."""
        from seal_jax.seal import recorded

        found = recorded.aggregate(self.results)
        result = {**found.result, **({"notes": found.notes} if found.notes else {})}
        derived = [f"{key}: {dumps(value)}" for key, value in found.result.get("metrics", {}).items()]
        return Report(result, *_tables(found), notes=[*derived, *found.notes])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subset:
    """Some of a file's passages: those the reference uses, with its seed and order. Written to --out, or shown."""

    data: pathlib.Path
    """Passages: a SQuAD file, or JSON or JSON Lines of {title, context, questions}; other keys are kept."""
    out: pathlib.Path | None = None
    """The file to write, a JSON list, or with the ending .jsonl an item a line; one that is there is replaced. Without
    it the passages are listed, and with --json printed whole under "passages"."""
    n: int = 0
    """How many; 0 or less is all to the end."""
    seed: int = 42
    """Seed of the shuffle of the whole file, which comes first."""
    start: int = 0
    """The first one's position in the shuffled order."""
    json: bool = False
    """Print one line of JSON on standard output, and nothing else there."""

    def check(self) -> None:
        """Raise ValueError for arguments out of their range, and an --out that cannot be written."""
        at_least(0, seed=self.seed, start=self.start)
        if self.out is not None:
            _check_out(self.out, self.data)

    def __call__(self) -> Report:
        """Read and write."""
        from seal_jax.seal import recorded

        found = recorded.subset(self.data, self.n, self.seed, self.start)
        counts = {"items": len(found.items), "questions": found.questions}
        if self.out is None:
            rows = [
                {"position": self.start + i, "title": item["title"], "questions": len(item["questions"])}
                for i, item in enumerate(found.items)
            ]
            done = f"{len(found.items)} passages with {found.questions} questions; --out FILE writes them"
            return _report({**counts, "passages": found.items}, found.notes, done)._replace(rows=rows)
        lines = self.out.suffix == ".jsonl"
        write_atomic(self.out, "".join(map(_line, found.items)) if lines else dumps(found.items, indent=2) + "\n")
        result = {"out": self.out, **counts}
        done = f"{len(found.items)} passages with {found.questions} questions are in {self.out}"
        return _report(result, found.notes, done)


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _check_out(out: pathlib.Path, source: pathlib.Path) -> None:
    if out.is_dir():
        raise ValueError(f"--out {out} is a directory; name the file to write")
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f"--out {out} is the file that is read; name another")


def _report(result: dict[str, Any], notes: list[str], done: str) -> Report:
    return Report({**result, **({"notes": notes} if notes else {})}, notes=[done, *notes])


def _tables(found: recorded.Aggregate) -> tuple[list[dict[str, Any]], str]:
    """The rows to show of what `recorded.aggregate` found, and their title."""
    result = found.result
    overall = result["overall"]
    if "mean_over_sequences" in overall:
        stds = result.get("standard_deviations", {"std_over_sequences": overall["std_over_sequences"]})
        matrices = {"mean": overall["mean_over_sequences"], **stds}
        rows = [{"matrix": name, **_matrix_row(r, row)} for name, m in matrices.items() for r, row in enumerate(m)]
        return rows, f"Accuracy, mean and standard deviations over {overall['n_sequences']} sequences"
    flat = {**overall, **{f"questions {key}": value for key, value in result.get("questions", {}).items()}}
    return [{"statistic": key, "value": _known(value)} for key, value in flat.items()], f"Computed from {found.source}"


def _known(value: Any) -> Any:
    """None, which tables show as a dash, for NaN."""
    return None if value != value else value


def _matrix_row(edits: int, row: list[float]) -> dict[str, Any]:
    """A row of a matrix of sequential edits; cells of items that are not yet edited are empty, except before any is."""
    known = {f"item {i}": _known(value) if not edits or i < edits else "" for i, value in enumerate(row)}
    return {"after edits": edits, **known}
