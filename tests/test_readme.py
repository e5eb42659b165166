"""The README's Python example, run as it stands there, and the links between the pages."""

import pathlib
import re
import runpy

import pytest
import transformers

from seal_jax import models
from seal_jax.seal.demo import CHECKPOINT

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.slow
def test_the_example_does_what_it_says(tmp_path, monkeypatch, capsys):
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(tmp_path / "example.py"))
    assert capsys.readouterr().out.splitlines()[-1] == re.findall(r"print\(.*\)  # (.*)", code)[0]
    assert transformers.AutoConfig.from_pretrained(tmp_path / "camel-merged").model_type == "llama"
    base = models.from_pretrained(CHECKPOINT)
    assert len(models.load_peft(tmp_path / "camel", base.params, base.config)) == 7


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", page.read_text(encoding="utf-8")):
        linked = page if not target else (page.parent / target).resolve()
        assert linked.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor[1:] in _anchors(linked), f"{page.name} links to {target}{anchor}; there is no such heading"


def _anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
