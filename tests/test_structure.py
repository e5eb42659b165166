"""Who may import whom, read from the source; what importing the library does not load; and its public names."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

from seal_jax import adapters, generation, models, training

PACKAGE = pathlib.Path(__file__).parents[1] / "seal_jax"
LAYERS = (
    ("runtime",),
    ("adapters",),
    ("models",),
    ("data",),
    ("generation", "training", "evaluation"),
    ("seal", "transformer2", "rain", "continual"),  # the methods, which do not know one another
    ("plan",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Compared with in tests and benchmarks, and never needed by a user.
FOREIGN = ("torch", "peft", "tensorflow", "pickle")
# Slow, or not needed by who calls the library: imported inside the functions that use them.
LAZY = ("datasets", "matplotlib", "rich", "transformers", "tyro")


def modules_of(package):
    """Each module's dotted path below seal_jax and what it imports: (name, line, inside a function)."""
    for path in (
        sorted((PACKAGE / package).rglob("*.py")) if (PACKAGE / package).is_dir() else [PACKAGE / f"{package}.py"]
    ):
        yield path, list(_imports(ast.parse(path.read_text(encoding="utf-8")), inside=False))


def _imports(node, inside):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import"
            # `from seal_jax import models` names a package, `from seal_jax.models import Config` something in it
            names = [f"seal_jax.{a.name}" for a in child.names] if child.module == "seal_jax" else [child.module]
            yield from ((name, child.lineno, inside) for name in names)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, inside or function)


def packages():
    found = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    return sorted(found - {"__init__"})


def test_every_package_has_its_place():
    assert set(packages()) <= set(LEVEL), "a new package: give it a place in LAYERS and in docs/architecture.md"


@pytest.mark.parametrize("package", packages())
def test_imports_go_one_way(package):
    wrong = []
    for path, imports in modules_of(package):
        for name, line, _ in imports:
            top, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if top == "seal_jax" and other in LEVEL and other != package and LEVEL[other] >= LEVEL[package]:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {name}")
            if top in FOREIGN:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {name}")
    assert not wrong


def test_modules_of_a_package_do_not_import_each_other_in_a_circle():
    """Imports inside functions count as well: they are where a circle would be hidden."""
    files = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    left = {
        name: {found for found in _from_modules(ast.parse(path.read_text(encoding="utf-8"))) if found in files}
        for name, path in files.items()
    }
    while free := [name for name, needs in left.items() if not needs & (left.keys() - {name})]:
        for name in free:
            del left[name]
    assert not left, "import each other, or something that does"


def _from_modules(tree):
    """What is imported, each module of a package by its own name, but for annotations alone."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (child.module, *(f"{child.module}.{alias.name}" for alias in child.names))
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield from _from_modules(child)


@pytest.mark.parametrize("package", [p for p in packages() if p != "cli"])
def test_what_few_need_is_imported_where_it_is_used(package):
    at_top = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path, imports in modules_of(package)
        for name, line, inside in imports
        if name.split(".")[0] in LAZY and not inside
    ]
    assert not at_top


def test_importing_the_library_loads_none_of_it():
    """Not by way of other packages either, except those that jax or orbax load themselves."""
    code = f"""
import sys, jax, flax, optax, orbax.checkpoint
before = set(sys.modules)
from seal_jax import {", ".join(p for p in packages() if p not in ("cli", "assets"))}
print(sorted(m for m in {(*LAZY, *FOREIGN[:2])!r} if m in set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SIGNATURES = {
    models.from_pretrained: "path, dtype='float32', mesh=None",
    models.forward: "params, config, tokens, mask=None",
    models.forward_cached: "params, config, tokens, cache, mask=None",
    models.save_pretrained: "path, config, params, tokenizer=None",
    models.save_peft: "path, adapter, config",
    models.load_peft: "path, params, config",
    adapters.lora.init: "key, params, rank=32, alpha=64.0, targets=('q_proj', 'v_proj')",
    adapters.svf.factor: "params, targets=('mlp',)",
    adapters.svf.init: "key, factors, mean=0.1, std=0.01",
    adapters.attach: "params, adapter, factors=None, compose='scaled'",
    adapters.materialize: "tree",
    generation.generate: (
        "params, config, prompts, key, max_new_tokens=64, temperature=0.0, top_k=None, top_p=1.0, eos=None, stop=(), "
        "tokenizer=None"
    ),
    training.finetune: "params, config, adapter, batches, hyper, tx=None, loss_fn=None",
    training.finetune_batch: "params, config, adapters_, batches, hyper, tx=None, loss_fn=None",
    training.Hyper: "learning_rate, steps, warmup=0, weight_decay=0.0, clip=1.0, seed=0",
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda f: f"{f.__module__}.{f.__qualname__}")
def test_public_names_keep_their_arguments(function):
    """Positional order, names and defaults; what comes after them is free to grow."""
    parameters = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]
    plain = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    assert ", ".join(map(str, plain)).startswith(SIGNATURES[function])
    assert inspect.getdoc(function)


def test_public_results_keep_their_fields():
    assert generation.Output._fields[:4] == ("tokens", "texts", "logprobs", "finished")
    assert models.Model._fields == ("config", "params", "tokenizer")


@pytest.mark.parametrize("package", [p for p in packages() if p != "assets"])
def test_what_a_package_exports_is_there_and_described(package):
    module = __import__(f"seal_jax.{package}", fromlist=["x"])
    assert module.__doc__
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, f"seal_jax.{package}.{name} has no docstring"
            assert inspect.isclass(value) or "return" in value.__annotations__, f"{name} does not say what it returns"
