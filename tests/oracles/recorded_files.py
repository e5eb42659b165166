"""Small files in the formats of the SEAL reference, made from nothing; every call gives a fresh copy."""

QUESTIONS = [("Who?", "Ann"), ("Where?", "Oslo"), ("When?", "1900")]


def completion(text, runs):
    """runs: for each, the verdicts before and after."""
    questions = [
        {
            "rep": rep,
            "question": QUESTIONS[i][0],
            "answer": QUESTIONS[i][1],
            "baseline_answer": "b",
            "adapter_answer": "a",
            "baseline_correct": before,
            "adapter_correct": after,
        }
        for rep, verdicts in enumerate(runs)
        for i, (before, after) in enumerate(verdicts)
    ]
    return {"text": text, "stats": {}, "questions": questions}


def ranking():
    """Two articles, two completions, two runs of three questions; the statistics are worked out by hand."""
    yes, no, up, down = (True, True), (False, False), (False, True), (True, False)
    first = [completion("one", [[up, no, no], [up, up, no]]), completion("two", [[no, no, no], [no, no, no]])]
    second = [
        completion("three", [[yes, yes, no], [yes, yes, no]]),
        completion("four", [[yes, down, no], [yes, yes, up]]),
    ]
    first[0]["stats"] = stats(0.0, 0.0, 0.5, 0.2357, 0.5)
    first[1]["stats"] = stats(0.0, 0.0, 0.0, 0.0, 0.0)
    second[0]["stats"] = stats(0.6667, 0.0, 0.6667, 0.0, 0.0)
    second[1]["stats"] = stats(0.6667, 0.0, 0.66665, 0.4714, 0.0)
    articles = [
        {"title": f"T{i}", "context": f"C{i}", "prompt": f"P{i}\n", "completions": completions, "stats": {}}
        for i, completions in enumerate((first, second))
    ]
    return {
        "overall": {},
        "timestamp": "0101_000000",
        "exp_name": "x",
        "dataset": "d.json",
        "split_newlines": True,
        "n_articles": 2,
        "k_completions": 2,
        "eval_times": 2,
        "lora_params": {"rank": 32},
        "articles": articles,
    }


def stats(*values):
    keys = ("baseline_mean", "baseline_std", "adapter_mean", "adapter_std", "gain_mean")
    return dict(zip(keys, values, strict=True))


def cpt():
    """Two passages that share a title: `per_article` keeps one of them."""
    reply = {
        "baseline_accuracy": 0.2,
        "adapter_accuracy": 0.6,
        "adapter_gain": 0.4,
        "baseline_texts": ["x"] * 5,
        "adapter_texts": ["y"] * 5,
        "baseline_correct": [True, False, False, False, False],
        "adapter_correct": [False, True, True, True, False],
        "gains": [-1, 1, 1, 1, 0],
    }
    return {
        "overall": {"baseline_accuracy": 0.2, "adapter_accuracy": 0.6, "gain": 0.4},
        "timestamp": "0101_000000",
        "dataset": "d.json",
        "n_articles": 2,
        "k_completions": 0,
        "split_newlines": False,
        "lora_params": {},
        "per_article": {"T": {"baseline_correct": [False, False], "adapter_correct": [True, False]}},
        "train_sequences": 4,
        "eval_questions": 5,
        "server_reply": reply,
    }


def summary(rows, stds, sequences=2):
    return {
        "mean_over_sequences": rows,
        "std_over_sequences": stds,
        "n_sequences": sequences,
        "n_datapoints": len(rows) - 1,
        "dataset": "squad.json",
        "base_model": "m",
    }


def runs():
    """Two runs of two edits, two sequences each."""
    return [
        summary([[0.2, 0.4], [0.6, 0.0], [0.4, 0.8]], [[0.1, 0.2], [0.3, 0.0], [0.1, 0.1]]),
        summary([[0.4, 0.4], [0.8, 0.0], [0.2, 0.6]], [[0.3, 0.2], [0.1, 0.0], [0.3, 0.1]]),
    ]


def few_shot():
    """Two edits of two tasks."""
    return {str(edit): {"task_id": {"0": "aa", "1": "bb"}, "correct": {"0": True, "1": False}} for edit in range(2)}


def generated():
    """Three passages with two completions each."""
    return [
        {
            "title": f"T{i}",
            "context": f" C{i} ",
            "questions": [{"question": "Q", "answer": "A"}],
            "completions": ["Sure:\n1. a\n2. b", "c --- d"],
            "prompt": "P",
        }
        for i in range(3)
    ]
