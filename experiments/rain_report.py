"""What `experiments/rain.py` found: shares of good answers with standard errors, costs, a figure."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seal_jax.data.problems import Problem
from seal_jax.evaluation.matrix import known_error, known_mean
from seal_jax.runtime.logging import table

NAMES = {
    "greedy": "greedy",
    "sampling": "sampling",
    "best_of": "best of N",
    "best_of_soft": "best of N, soft votes",
    "best_of_more": "best of more",
    "best_of_more_soft": "best of more, soft votes",
    "rain": "RAIN",
    "rain_soft": "RAIN, soft votes",
    "no_similarity": "no similarity",
    "no_widening": "no widening",
    "no_exploration": "c = 0",
    "no_similarity_widening": "no similarity, no widening",
    "none_of_the_three": "none of the three",
    "paper_score": "the paper's score",
    "paper_score_no_exploration": "the paper's score, c = 0",
}
Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def summary(problems: Sequence[Problem], found: Runs) -> dict[str, Any]:
    """`methods`: by name and by kind of question ("all", "calm", "provoking") `_scores`; `costs`: by name and kind.

    found: by method what `Methods` returns, by seed.
    """
    provokes = np.array([problem.meta["provokes"] for problem in problems])
    kinds = {"all": np.ones(len(provokes), bool), "calm": ~provokes, "provoking": provokes}
    good = {name: np.array([run["good"] for run in runs], float) for name, runs in found.items()}
    return {
        "prompts": {kind: int(where.sum()) for kind, where in kinds.items()},
        "methods": {
            name: {kind: _scores(good, name, where) | _judged(runs, where) for kind, where in kinds.items()}
            for name, runs in found.items()
        },
        "costs": {
            name: {kind: _costs(runs, where) for kind, where in kinds.items()} | {"seconds": _seconds(runs)}
            for name, runs in found.items()
        },
        "texts": {name: runs[0]["texts"] for name, runs in found.items()},
    }


def _scores(good: Mapping[str, np.ndarray], name: str, where: np.ndarray) -> dict[str, Any]:
    """Mean over seeds and prompts, its standard error over prompts, by seed, and paired differences.

    A method with fewer seeds is compared with those seeds of the others.
    """
    mine, seeds = good[name][:, where].mean(axis=0), len(good[name])
    differences = {
        other: _mean(mine - good[other][:seeds, where].mean(axis=0))
        for other in ("greedy", "best_of", "best_of_soft", "best_of_more_soft", "rain")
        if other in good and other != name
    }
    by_seed = good[name][:, where].mean(axis=1).tolist()
    return {"good": _mean(mine), "by_seed": by_seed, "differences": differences}


def _mean(values: np.ndarray) -> list[float]:
    return [known_mean(values), known_error(values)]


def _judged(runs: Sequence[Mapping[str, Any]], where: np.ndarray) -> dict[str, float]:
    """The share of texts that the judge's hard votes call good, and how many of those are bad."""
    liked = np.array([run["values"] for run in runs])[:, where] > 0
    bad = ~np.array([run["good"] for run in runs], bool)[:, where]
    return {"liked": float(liked.mean()), "liked_but_bad": float((liked & bad).sum() / max(liked.sum(), 1))}


def _costs(runs: Sequence[Mapping[str, Any]], where: np.ndarray) -> dict[str, float]:
    """Means over prompts and seeds; per token: over all generated tokens."""
    total = lambda name: float(np.mean([np.array(run[name])[where] for run in runs]))  # noqa: E731
    length = total("lengths")
    costs = {"length": length, "tokens": total("tokens_processed"), "passes": total("passes")}
    per_token = {f"{name}_per_token": costs[name] / length for name in ("tokens", "passes")}
    searched = {name: total(name) for name in ("searches", "commits", "judged") if name in runs[0]}
    return {**costs, **per_token, **searched}


def _seconds(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Per generated token, of the first seed, which compiles, and of the fastest."""
    each = [run["seconds"] / sum(run["lengths"]) for run in runs]
    return {"first": each[0], "fastest": min(each)}


def show(out: pathlib.Path, result: Mapping[str, Any]) -> None:
    """Print the tables, write rain.png."""
    rows = []
    for name, scores in result["methods"].items():
        row: dict[str, Any] = {"method": NAMES.get(name, name)}
        for kind, each in scores.items():
            row[kind] = _percent(each["good"])
            if "greedy" in each["differences"]:
                row[f"{kind} - greedy"] = _percent(each["differences"]["greedy"], "+")
        rows.append(row | {"liked, bad (%)": round(100 * scores["all"]["liked_but_bad"], 1)})
    table(rows, f"good answers in %, {result['prompts']}, N {result['samples']}")
    costs = [
        {"method": NAMES.get(name, name), **each["all"], "provoking tokens": each["provoking"]["tokens"]}
        | {f"{which} seconds": s for which, s in each["seconds"].items()}
        for name, each in result["costs"].items()
    ]
    table([{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in costs], "cost")
    draw(out / "rain.png", result)


def _percent(pair: Sequence[float], sign: str = "") -> str:
    return f"{100 * pair[0]:{sign}.1f} ± {100 * pair[1]:.1f}"


def draw(path: pathlib.Path, result: Mapping[str, Any]) -> None:
    """Good answers to provoking and to calm questions by method, and against tokens processed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (bars, costs) = plt.subplots(
        1, 2, figsize=(10.5, 4.4), layout="constrained", gridspec_kw={"width_ratios": [3, 2]}
    )
    names = [name for name in NAMES if name in result["methods"]]
    places = np.arange(len(names))[::-1]
    for kind, colour, shift in (("calm", "#8fb4d9", 0.2), ("provoking", "#b04a4a", -0.2)):
        pairs = 100 * np.array([result["methods"][name][kind]["good"] for name in names])
        bars.barh(places + shift, pairs[:, 0], 0.38, xerr=pairs[:, 1], color=colour, label=f"{kind} questions")
    bars.set_yticks(places, [NAMES[name] for name in names])
    bars.set_xlabel("good answers (%), standard errors over prompts")
    bars.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=2, frameon=False, fontsize=9)
    for name in names:
        colour = "#b04a4a" if name == "rain" else "#2f6fb0" if name.startswith("best") else "#6b7480"
        x, (y, error) = result["costs"][name]["all"]["tokens_per_token"], result["methods"][name]["all"]["good"]
        costs.errorbar(x, 100 * y, 100 * error, fmt="o", color=colour, markersize=5, zorder=3 if name == "rain" else 2)
        if not name.startswith(("no_", "none", "paper")):
            left = name in ("rain", "best_of", "best_of_soft")
            where = {"xytext": (-7, 3) if left else (7, -3), "ha": "right" if left else "left"}
            costs.annotate(NAMES[name], (x, 100 * y), textcoords="offset points", fontsize=8, **where)
    costs.set_xscale("log")
    costs.set_xlim(1, 2000)
    costs.set_xlabel("tokens processed for each generated token")
    costs.set_ylabel("good answers (%), all questions")
    for panel in (bars, costs):
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
