"""Who grades: rules, the model itself, a served model; and what becomes of answers that nobody could grade."""

import dataclasses
import zlib

import jax
import micro_study
import numpy as np
import pytest
from oracles.chat_server import fails_at_first, says, status

from seal_jax import adapters, generation
from seal_jax.evaluation import Case, Endpoint, judge_prompts
from seal_jax.runtime import Run
from seal_jax.runtime.files import read_json
from seal_jax.seal import answers, graders, knowledge, reward
from seal_jax.seal.inner_loop import Memory, Trial, run_trials


def outcome(*correct):
    return {"answers": ["x"] * len(correct), "correct": list(correct), "loglik": [-1.0] * len(correct)}


@pytest.fixture
def people(passages):
    return passages(3)


def by_endpoint(settings, server, **how):
    endpoint = Endpoint(url=server.url, model="m", wait=0.01, retries=1, timeout=5.0, **how)
    return dataclasses.replace(settings.answering, grader="endpoint", endpoint=endpoint)


def title_of(body):
    return next(line for line in body["messages"][-1]["content"].splitlines() if "Topic: " in line)


def test_all_of_a_group_is_graded_at_once_with_the_topic(tiny, settings, people):
    seen = []

    def grade(cases):
        seen.append(cases)
        return [None if i % 3 == 2 else i % 3 == 0 for i in range(len(cases))]

    before = answers.ask(tiny, people, settings.answering, rows=4, grader=grade)
    # What has no verdict is sent once more: the third and the last.
    assert [o["correct"] for o in before] == [[True, False], [True, True], [False, False]]
    ruled = answers.ask(tiny, people, settings.answering, rows=4)
    assert [o["answers"] for o in ruled] == [o["answers"] for o in before]
    cases, again = seen
    assert again == [cases[2], cases[5]]
    asked = [(p, q) for p in people for q in p.questions]
    assert [c.question for c in cases] == [f"Topic: {p.title}\n{q.question}" for p, q in asked]
    assert [c.gold for c in cases] == [q.answer for _, q in asked]
    assert [c.answer for c in cases] == [a for o in before for a in o["answers"]]
    fresh = adapters.lora.init(jax.random.key(0), tiny.params, 2, 4.0)
    stacked = jax.tree.map(lambda x: np.stack([x] * 4), fresh)
    adapted = answers.ask_adapted(tiny, stacked, people, settings.answering, grader=grade)
    assert [o["correct"] for o in adapted] == [[True, False], [None, True], [False, None]]
    assert seen[2:] == [cases]  # a fresh adapter changes nothing


def test_missing_verdicts_are_asked_for_again(people):
    seen = []

    def grade(cases):
        seen.append(cases)
        return [True, None]

    before = [outcome(True, False), outcome(None, False), outcome(True, None)]
    after = answers.grade_missing(before, people, grade)
    assert [o["correct"] for o in after] == [[True, False], [True, False], [True, None]]
    assert after[0] is before[0]
    assert after[2] is before[2]
    assert before[1]["correct"] == [None, False]
    asked = [(people[1], 0), (people[2], 1)]
    assert [c.gold for c in seen[0]] == [p.questions[i].answer for p, i in asked]
    assert answers.grade_missing(before[:1], people[:1], grade) == before[:1]
    assert len(seen) == 1


def test_the_model_as_its_own_judge(tiny, settings, people, monkeypatch):
    """Greedy from the judge's prompt, no adapter; the first line with text is the verdict."""
    cases = [Case("Topic: T\nWho?", "Ann", text) for text in ("Ann", "Bob", " ", "Eve", "x " * 600)]
    asked, replies = [], {"Ann": "\n yes\nno", "Bob": "No, because", "Eve": "Perhaps"}

    def generate(params, config, prompts, key, **how):
        asked.append((prompts, how))
        texts = [next(reply for name, reply in replies.items() if f"judge: {name}" in p) for p in prompts]
        return generation.Output([], texts, [], [])

    how = dataclasses.replace(settings.answering, grader="self", judge_tokens=7)
    long = tiny._replace(config=dataclasses.replace(tiny.config, max_position=1024))
    monkeypatch.setattr(graders.generation, "generate", generate)
    grade = graders.make_grader(long, how)
    assert grade(cases) == [True, False, False, None, None]  # the last one does not fit the context
    [(prompts, options)] = asked
    assert sorted(prompts) == sorted(judge_prompts([cases[0], cases[1], cases[3]]))
    assert (options["max_new_tokens"], options.get("temperature", 0.0)) == (7, 0.0)
    assert grade(cases) == [True, False, False, None, None]
    assert len(asked) == 1  # a greedy reply would be the same again
    monkeypatch.undo()
    assert len(graders.make_grader(long, how)(cases[:2])) == 2  # the real thing, whatever this model says


def test_a_judge_template_is_read_before_any_work(tiny, settings, tmp_path):
    (tmp_path / "j.txt").write_text("{question} {answer}")
    for grader in ("self", "endpoint"):
        endpoint = Endpoint(url="http://127.0.0.1:9/v1", model="m")
        how = dataclasses.replace(settings.answering, grader=grader, judge=str(tmp_path / "j.txt"), endpoint=endpoint)
        with pytest.raises(ValueError, match=r"j\.txt: missing placeholder \{gold\}"):
            graders.make_grader(tiny, how)


def test_an_evaluation_by_an_endpoint(tiny, settings, people, tmp_path, serve):
    """Grades are kept in the run's directory; what failed is reported and counts neither way."""
    broken = people[1].title
    server = serve(lambda body: status(500) if broken in title_of(body) else says("yes"))
    how = dataclasses.replace(settings, answering=by_endpoint(settings, server))
    with Run(tmp_path / "run", {"settings": how}) as run:
        found = knowledge.evaluate(run, "base", tiny, people, how, 0, adapt=False)
        stored = run.stage("base", lambda: None)
    said = [bool(a) for o in stored for a in o["answers"]]
    assert all(said)  # empty answers would be wrong without a call
    assert (found["accuracy"], found["questions"], found["ungraded"], found["passages"]) == (1.0, 6, 2, 3)
    assert [o["correct"] for o in stored] == [[True, True], [None, None], [True, True]]
    assert len((tmp_path / "run/stages/grades.jsonl").read_text().splitlines()) == 2 * 2
    before = len(server.requests)
    with Run(tmp_path / "run", {"settings": how}) as run:
        again = knowledge.evaluate(run, "base", tiny, people, how, 0, adapt=False)
    assert str(again) == str(found)  # a finished stage stays as it is
    assert len(server.requests) == before
    quicker = by_endpoint(settings, server, concurrency=2)
    with Run(tmp_path / "run", {"settings": dataclasses.replace(settings, answering=quicker)}):
        pass  # how an endpoint is asked is no setting of the run
    assert read_json(tmp_path / "run" / "config.json")["settings"]["answering"]["endpoint"]["model"] == "m"


@pytest.mark.slow
def test_a_study_with_a_failing_endpoint(tmp_path, serve, settings):
    """What could not be graded is left out of every figure, from the trials to the rounds."""

    def act(body):
        number = zlib.crc32(body["messages"][-1]["content"].encode())
        return (says("yes"), says("no"), status(500))[number % 3]

    server = serve(act)
    how = dataclasses.replace(settings, reward="accuracy", answering=by_endpoint(settings, server))
    result = read_json(micro_study.run(tmp_path / "run", how))
    stages = tmp_path / "run" / "stages"
    for name in ("base", "round_0", "round_1"):
        outcomes = [o["correct"] for o in read_json(stages / "evaluation" / f"{name}.json")["value"]]
        graded = [[v for v in correct if v is not None] for correct in outcomes]
        assert result[name]["ungraded"] == sum(correct.count(None) for correct in outcomes)
        means = [np.mean(g) for g in graded if g]
        assert result[name]["accuracy"] == (pytest.approx(np.mean(means)) if means else None)
    assert sum(entry["ungraded"] for entry in result.values() if "ungraded" in entry) > 0
    trials = [o["correct"] for o in read_json(stages / "round_1" / "trials.json")["value"]]
    [report] = result["rounds"]
    assert report["ungraded"] == sum(correct.count(None) for correct in trials)
    rewards = read_json(stages / "round_1" / "selection.json")["value"]["rewards"]
    wanted = [[v for v in correct if v is not None] for correct in trials]
    assert [r for row in rewards for r in row] == [pytest.approx(np.mean(w)) if w else None for w in wanted]


def test_trials_are_graded_again_at_the_end(tiny, settings, people, serve):
    """A server that was down for a while costs nothing; one that stays down leaves None."""
    down = [True]
    server = serve(lambda body: status(503) if down[0] else says("no"))
    how = by_endpoint(settings, server)
    trials = [Trial(str(i), [f"{p.title}\n{p.context}"], p, 0, i) for i, p in enumerate(people[:2])]
    store = Memory()
    first = run_trials(tiny, trials, settings.inner, how, store)
    assert [o["correct"] for o in first] == [[None, None]] * 2
    down[0] = False
    second = run_trials(tiny, trials, settings.inner, how, store)
    assert [o["correct"] for o in second] == [[False, False]] * 2
    assert store["1"]["correct"] == [False, False]
    assert [o["answers"] for o in second] == [o["answers"] for o in first]
    asked = len(server.requests)
    run_trials(tiny, trials, settings.inner, how, store)
    assert len(server.requests) == asked


def test_answers_without_an_edit_are_graded_again(tiny, settings, people, tmp_path, serve):
    server = serve(fails_at_first(says("yes")))
    how = dataclasses.replace(settings, answering=by_endpoint(settings, server))
    once = dataclasses.replace(how.answering.endpoint, retries=0)
    how = dataclasses.replace(how, answering=dataclasses.replace(how.answering, endpoint=once))
    with Run(tmp_path, {}) as run:
        assert knowledge.evaluate(run, "base", tiny, people, how, 0, adapt=False)["ungraded"] == 0
    assert len(server.requests) == 2 * 6


def test_ungraded_answers_count_neither_way():
    assert reward.reward("accuracy", [[True, None], [False, True]]) == pytest.approx(2 / 3)
    assert np.isnan(reward.reward("accuracy", [[None, None]]))
    assert reward.reward("binary", [[True, None]], [None, False]) == 1.0
    assert reward.reward("binary", [[True, None]], [True, None]) == 0.0
    assert np.isnan(reward.reward("binary", [[True]], [None]))
    found = knowledge.summary([outcome(True, None), outcome(None, None), outcome(False, False)])
    assert found["accuracy"] == 0.5
    assert (found["ungraded"], found["questions"], found["passages"]) == (3, 6, 3)
    assert found["stderr"] == pytest.approx(0.5)
    other = knowledge.summary([outcome(False, False), outcome(True, True), outcome(None, True)])
    assert knowledge.compare(found, other)["difference"] == pytest.approx(np.mean([1 - 0, 0 - 1]))
    assert np.isnan(knowledge.summary([outcome(None)])["accuracy"])
    np.testing.assert_array_equal(answers.verdicts([outcome(True, None, False)]), [1.0, np.nan, 0.0])


def test_scores_with_ungraded_edits():
    """An edit of which nothing is graded is not chosen, and neither is one above an unknown baseline."""
    from seal_jax.seal import rest_em

    scores = knowledge.Scores([[[outcome(None)], [outcome(False)]], [[outcome(True)]]], [outcome(True), outcome(None)])
    rewards = scores.rewards("accuracy")
    assert np.isnan(rewards[0][0])
    assert rest_em.select(rewards, [["a", "b"], ["c"]]) == [[1], [0]]
    before = scores.before("accuracy")
    assert rest_em.select(rewards, [["a", "b"], ["c"]], None, positive=True, baseline=before) == [[], []]


@pytest.mark.parametrize("failing", [False, True])
def test_several_processes_ask_once(monkeypatch, failing):
    """Process 0 asks, the others take what it got; where it cannot, all of them stop."""
    from jax.experimental import multihost_utils

    sent = []

    def grade(cases):
        if failing:
            raise graders.EndpointError("no such model")
        return [True, None, False]

    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda x: sent.append(np.array(x)) or sent[0])
    shared, cases = graders._asked_once(grade), [Case("q", "g", "a")] * 3
    if failing:
        with pytest.raises(graders.EndpointError, match="no such model"):
            shared(cases)
    else:
        assert shared(cases) == [True, None, False]
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    shared = graders._asked_once(lambda cases: pytest.fail("process 1 asked"))
    if failing:
        with pytest.raises(graders.EndpointError, match="process 0 could not"):
            shared(cases)
    else:
        assert shared(cases) == [True, None, False]
