"""The notebooks run from their first cell to their last, and are kept without outputs."""

import pathlib

import nbclient
import nbformat
import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_there_are_some():
    assert [path.name for path in NOTEBOOKS] == ["continual.ipynb", "rain.ipynb", "seal.ipynb", "transformer2.ipynb"]


def test_kept_without_outputs(notebook):
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None), cell.source


def test_the_last_cell_asserts(notebook):
    assert "assert " in notebook.cells[-1].source


@pytest.mark.slow
def test_runs(notebook, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(FOLDER.parent / ".jax_cache"))
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    )
    client.execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))
