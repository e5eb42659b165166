"""The README's Python example, run as it stands there."""

import pathlib
import re
import runpy

import pytest
import transformers

from seal_jax import models
from seal_jax.seal.demo import CHECKPOINT

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_the_example_does_what_it_says(tmp_path, monkeypatch, capsys):
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(tmp_path / "example.py"))
    assert capsys.readouterr().out.splitlines()[-1] == re.findall(r"print\(.*\)  # (.*)", code)[0]
    assert transformers.AutoConfig.from_pretrained(tmp_path / "camel-merged").model_type == "llama"
    base = models.from_pretrained(CHECKPOINT)
    assert models.load_peft(tmp_path / "camel", base.params, base.config).keys() == {
        f"layers/{module}/kernel"
        for module in (
            *(f"self_attn/{name}_proj" for name in "qkvo"),
            *(f"mlp/{name}_proj" for name in ("gate", "up", "down")),
        )
    }
