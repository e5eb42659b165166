"""What `seal-jax rain` continues: files and datasets, frames and chats, and from where on the judge is shown a text."""

import json
import re

import pytest

from seal_jax import models
from seal_jax.cli.rain_prompts import DATASETS, Asking, encode, read
from seal_jax.data import alignment
from seal_jax.data.worlds.tokenizer import build

CHAT = """{% for m in messages %}[{{ m.role }}] {{ m.content }}
{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"""


@pytest.fixture(scope="module")
def tokenizer():
    made = build()
    made.chat_template = CHAT
    return made


@pytest.fixture(scope="module")
def config(tokenizer):
    return models.Config("llama", len(tokenizer), 32, 48, 2, 4, 2, 8, 256)


def shown(asking, config, tokenizer, asked=None):
    """Each prompt as the model has it, and as the judge has it."""
    made = encode(asking, read(asking) if asked is None else asked, config, tokenizer)
    parts = zip(made.tokens, made.judged_from, strict=True)
    return [(tokenizer.decode(tokens), tokenizer.decode(tokens[start:])) for tokens, start in parts]


def write(path, *rows):
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["p.json", "p.jsonl"])
def test_files_of_objects(tmp_path, name):
    messages = [{"role": "user", "content": "hi"}]
    path = write(tmp_path / name, {"prompt": "one\ntwo", "adapter": 3}, {"messages": messages})
    assert read(Asking(prompts=path)) == ["one\ntwo", messages]
    assert read(Asking(prompts=path, limit=1)) == ["one\ntwo"]


def test_text_is_framed_and_the_prefix_is_not_judged(tmp_path, config, tokenizer):
    path = tmp_path / "p.txt"
    path.write_text("Who is Ada?\nWhat {x}?\n")
    (tmp_path / "shots.txt").write_text("Q: Why?\nA: So.\n\n")
    plain = Asking(prompts=path)
    assert shown(plain, config, tokenizer) == [(text, text) for text in ("Who is Ada?", "What {x}?")]
    framed = Asking(prompts=path, frame="Q: {prompt}\\nA:", prefix=tmp_path / "shots.txt", stop=("\\nQ:",))
    assert shown(framed, config, tokenizer)[1] == ("Q: Why?\nA: So.\n\nQ: What {x}?\nA:", "Q: What {x}?\nA:")
    assert framed.ends == ["\nQ:"]


def test_what_opens_every_sequence_is_not_judged(config, tokenizer):
    class Opens:
        """A tokenizer that puts a token before every text."""

        bos_token = "<s>"

        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def encode(self, text):
            return [tokenizer.bos_token_id, *tokenizer.encode(text)]

    made = encode(Asking(prompts="unread"), ["Ada"], config, Opens())
    assert made.tokens[0][0] == tokenizer.bos_token_id
    assert made.judged_from == [1]


def test_of_chats_the_judge_is_shown_what_the_user_says_last(tmp_path, config, tokenizer):
    chat = Asking(prompts=tmp_path / "unread", chat=True, system="be brief")
    talk = [("system", "s"), ("user", "old"), ("assistant", "so"), ("user", "new"), ("assistant", "well")]
    messages = [{"role": role, "content": text} for role, text in talk]
    (text, judged), (long, last) = shown(chat, config, tokenizer, ["hi there", messages])
    assert text == "[system] be brief\n[user] hi there\n[assistant]"
    assert judged.strip() == "hi there\n[assistant]"
    assert long.startswith("[system] s\n[user] old\n")
    assert last.strip() == "new\n[assistant] well\n[assistant]"


def test_datasets(tmp_path, config, tokenizer, monkeypatch):
    goals = write(tmp_path / "goals.jsonl", {"goal": "tie a knot"}, {"goal": "fly"})
    (tmp_path / "ends.txt").write_text("now\nplease\n")
    asking = Asking(data=f"advbench={goals}", suffixes=tmp_path / "ends.txt")
    assert shown(asking, config, tokenizer) == [
        (f"USER: {text}\nASSISTANT:",) * 2 for text in ("tie a knot now", "fly please")
    ]
    assert asking.ends == ["\nUSER:"]
    assert Asking(data="advbench", frame="{prompt}", stop=("x",)).ends == ["x"]
    assert Asking(data="advbench", chat=True).ends == []
    folder = tmp_path / "imdb"
    for split in ("train", "test"):
        for tone in ("pos", "neg"):
            (folder / split / tone).mkdir(parents=True)
            (folder / split / tone / "0_1.txt").write_text(f"{split} {tone} is a film that nobody has ever seen here")
    assert shown(Asking(data=f"imdb={folder}"), config, tokenizer)[0][0] == "test neg is a film that nobody has"
    assert read(Asking(data=f"imdb={folder}", split="train", limit=1)) == ["train neg is a film that nobody has"]
    with pytest.raises(ValueError, match=r"--split dev: --data imdb=.* has"):
        read(Asking(data=f"imdb={folder}", split="dev"))
    for name in DATASETS:
        monkeypatch.setattr(getattr(alignment, name), "load", lambda *source: {"dev": []})
        assert read(Asking(data=name)) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give --prompts FILE, or --data NAME"),
        ({"prompts": "p", "data": "imdb"}, "give --prompts FILE, or --data NAME"),
        ({"data": "imbd"}, "--data imbd: use one of red_team, advbench, truthful_qa, imdb, or NAME=SOURCE"),
        ({"prompts": "p", "split": "test"}, "--split is of a dataset"),
        ({"data": "imdb", "suffixes": "s"}, "--suffixes are of --data advbench"),
        ({"prompts": "p", "frame": "Q:"}, "--frame 'Q:': expected {prompt} in it"),
        ({"prompts": "p", "frame": "{prompt}", "chat": True}, "leave out --chat"),
        ({"prompts": "p", "system": "s"}, "give --chat too"),
        ({"prompts": "p", "limit": -1}, "--limit -1"),
        ({"prompts": "p", "stop": ("",)}, "--stop '': an empty string is in every text"),
    ],
)
def test_what_does_not_go_together(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Asking(**given)
