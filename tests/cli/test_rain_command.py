"""`seal-jax rain` on the dialogue world: its files against the function it calls, stopped and resumed, refused."""

import dataclasses
import html
import json
import warnings
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from seal_jax import models, rain
from seal_jax.cli import main
from seal_jax.cli import rain as command
from seal_jax.cli.rain_prompts import Asking
from seal_jax.cli.rain_settings import OFF, SHARED, Searching
from seal_jax.data.worlds import dialogue
from seal_jax.runtime import files

SETTINGS = rain.Settings(
    max_new_tokens=10, max_searches=6, floor_searches=3, min_visits=2, candidates=4, rollout_tries=3, max_simulation=6
)
CHANGED = ("max_new_tokens", "max_searches", "floor_searches", "min_visits", "candidates", "rollout_tries")
FLAGS = [x for name in (*CHANGED, "max_simulation") for x in (f"--{name}".replace("_", "-"), getattr(SETTINGS, name))]
NUMBERS = ("value", "visits", "searches", "passes", "tokens_processed", "judged", "commits", "truncated", "finished")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": p.prompt}) + "\n" for p in dialogue.problems("test", 5)))
    return path


@pytest.fixture(scope="module")
def arguments(prompts):
    """The command without --out."""
    start = ["rain", "--model", dialogue.CHECKPOINT, "--prompts", prompts, "--judge", "dialogue", "--slots", 2]
    return [*map(str, [*start, *FLAGS, "--seed", 3, "--tree"])]


@pytest.fixture(scope="module")
def done(arguments, tmp_path_factory):
    """The directory of a run that was never stopped."""
    out = tmp_path_factory.mktemp("run")
    assert main([*arguments, "--out", str(out)]) == 0
    return out


def lines(folder):
    """The lines of a run's texts, without what the clock says."""
    rows = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") > 0 for row in rows)
    return rows


def test_the_files_have_what_the_search_gives(done, prompts):
    model = models.from_pretrained(dialogue.CHECKPOINT)
    params = models.unroll(model.params)
    asked = [json.loads(line)["prompt"] for line in prompts.read_text().splitlines()]
    judge = rain.judges.options(params, model.config, model.tokenizer, "dialogue")
    want = rain.search(
        params, model.config, asked, jax.random.key(3), judge=judge, settings=SETTINGS, tokenizer=model.tokenizer,
        slots=2, trees=True,
    )  # fmt: skip
    rows = lines(done)
    assert [row["id"] for row in rows] == list(range(5))
    assert [row["prompt"] for row in rows] == asked
    assert [row["text"] for row in rows] == want.texts
    assert [row["tokens"] for row in rows] == want.tokens
    for name in NUMBERS:
        assert [row[name] for row in rows] == getattr(want, name if name != "value" else "values"), name
    result = json.loads((done / "result.json").read_text())
    assert result["prompts"] == 5
    assert result["tokens"] == sum(map(len, want.tokens))
    assert result["passes"] == sum(want.passes)
    assert result["passes_per_token"] == pytest.approx(sum(want.passes) / sum(map(len, want.tokens)))
    metrics = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in metrics[:-1]) == [f"prompt_{n}" for n in range(5)]
    assert 0 < metrics[-1]["utilisation"] <= 1
    config = json.loads((done / "config.json").read_text())
    assert config["settings"]["max_searches"] == 6


def test_a_page_of_each_tree(done):
    for row in lines(done):
        shown = (done / "trees" / f"{row['id']:05}.html").read_text()
        assert html.escape(row["text"].strip()) in shown
        assert f"{row['commits']} commit" in shown


def test_stopped_and_gone_on_with(arguments, done, tmp_path, monkeypatch, capsys):
    """Stopped in the middle, its last line torn: the same texts in the end, and only what was missing is searched."""
    out = tmp_path / "run"
    whole = files.JsonLines.append

    def stop_at_third(self, row):
        if self.path.name == "texts.jsonl" and len(self.rows) == 2:
            raise KeyboardInterrupt
        return whole(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(files.JsonLines, "append", stop_at_third)
        assert main([*arguments, "--out", str(out)]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    first = {row["id"] for row in lines(out)}
    assert len(first) == 2
    assert not (out / "result.json").exists()
    with (out / "texts.jsonl").open("a") as handle:
        handle.write('{"id": 4, "prompt": "Hum')
    asked = []
    search = rain.search
    monkeypatch.setattr(rain, "search", lambda *a, **how: (asked.extend(how["rows"]), search(*a, **how))[1])
    assert main([*arguments, "--out", str(out)]) == 0
    assert asked == [row for row in range(5) if row not in first]
    assert lines(out) == lines(done)
    for row in range(5):
        name = f"trees/{row:05}.html"
        assert (out / name).read_text() == (done / name).read_text()
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (out, done))
    for result in (ours, theirs):
        for name in ("seconds", "texts", "trees"):
            del result[name]
    assert ours == theirs
    asked.clear()
    capsys.readouterr()
    assert main([*arguments, "--out", str(out), "--json"]) == 0
    assert asked == []
    assert json.loads(capsys.readouterr().out)["prompts"] == 5
    assert main([*arguments, "--out", str(out), "--slots", "1", "--group", "1"]) == 0, "no other run for that"


def test_another_run_is_not_written_over(arguments, done, tmp_path, prompts, capsys):
    before = (done / "texts.jsonl").read_bytes()
    more = [*arguments, "--out", str(done)]
    assert main([*more, "--c-puct", "1"]) == 2
    said = capsys.readouterr().err
    assert "holds a run with other settings" in said
    assert "holds a run with other settings: settings.c_puct was 2.0, now 1.0. Pass --restart" in said
    other = tmp_path / "prompts.jsonl"
    other.write_text(prompts.read_text().replace("Human", "human"))
    assert main([x if x != str(prompts) else str(other) for x in more]) == 2
    assert "prompts" in capsys.readouterr().err
    assert main([*more[: more.index("--out")], "--out", str(done / "texts.jsonl")]) == 2
    assert "texts.jsonl: File exists" in capsys.readouterr().err
    assert (done / "texts.jsonl").read_bytes() == before


def test_the_configuration_has_each_argument_once(done, prompts):
    config = json.loads((done / "config.json").read_text())
    assert not {"searching", "asking", "judging"} & set(config)
    assert config["settings"] == json.loads(json.dumps(dataclasses.asdict(SETTINGS)))
    assert (config["judge"], config["votes"], config["prompts"], config["slots"]) == (
        "dialogue",
        "hard",
        str(prompts),
        2,
    )
    assert not set(config) & ({*SHARED, *OFF, "preset", "released"})


def test_what_a_preset_says_of_the_judge_is_configuration(tmp_path):
    """The searches of these two are the same, the judges are not."""
    configs = [
        command.Command(out=tmp_path, model="m", asking=Asking(data="imdb"), searching=Searching(preset=name)).config()
        for name in ("harmlessness", "sentiment")
    ]
    assert {key for key in configs[0] if configs[0][key] != configs[1][key]} == {"judge"}
    assert [config["judge"] for config in configs] == ["harmless", "sentiment"]


def test_restart_deletes_texts_and_pages(arguments, tmp_path, monkeypatch):
    out = tmp_path / "run"
    (out / "trees").mkdir(parents=True)
    for name in ("texts.jsonl", "trees/00000.html", "mine.txt"):
        (out / name).write_text("{}\n")

    def stop(*_):
        raise ValueError("far enough")

    monkeypatch.setattr(command, "open_model", stop)
    assert main([*arguments, "--out", str(out), "--restart"]) == 2
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == [
        "config.json", "metrics.jsonl", "mine.txt", "texts.jsonl",
    ]  # fmt: skip
    assert (out / "texts.jsonl").read_text() == ""


def test_a_warning_is_given_once(arguments, tmp_path, monkeypatch):
    def stop(*_):
        raise ValueError("far enough")

    monkeypatch.setattr(command, "open_model", stop)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert main([*arguments, "--out", str(tmp_path), "--min-visits", "7"]) == 2
    assert len([each for each in seen if "min_visits 7: " in str(each.message)]) == 1


def test_every_setting_of_a_search_has_its_flag():
    names = {field.name for field in dataclasses.fields(rain.Settings)}
    assert names == {*SHARED, *OFF.values()}
    given = {field.name for field in dataclasses.fields(Searching)}
    assert given == {*SHARED, *OFF, "preset", "released"}


def test_how_a_judge_is_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(rain.judges, "sentiment", lambda *given, **how: seen.append((*given, how)))
    model: Any = SimpleNamespace(params="params", config="config", tokenizer="tokenizer")
    usual = {"out": "o", "model": "m", "asking": None}
    judging = command.Judging(votes="soft", negate=True, judge_shots=2, judge_chat=True)
    command._judge(command.Command(**usual, searching=Searching(preset="sentiment")), model)
    command._judge(command.Command(**usual, judging=judging), model)
    base = ("params", "config", "tokenizer")
    assert seen == [
        (*base, "sentiment", {"positive": True, "hard": True, "shots": None, "chat": False}),
        (*base, "harmless", {"positive": False, "hard": False, "shots": 2, "chat": True}),
    ]


@pytest.mark.parametrize("name", list(rain.PRESETS))
@pytest.mark.parametrize("released", [False, True])
def test_presets_and_what_is_changed_of_them(name, released):
    asked = Searching(preset=name, released=released, c_puct=0.5, no_widening=True)
    want = dataclasses.replace(rain.preset(name, released), c_puct=0.5, widening=False)
    assert asked.settings() == want
    assert name in command.JUDGES
    rain.judges.load(command.JUDGES[name])
