"""Answers that are programs: the code in a completion, what of it is needed, and the program that tests it."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Sequence

from seal_jax.evaluation.code_execution import Program
from seal_jax.evaluation.math_answers import check_rules

_OPEN = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\n")
_IMPORTS = (ast.Import, ast.ImportFrom)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_BINDING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, *_ASSIGNMENTS)
_STEPS = (ast.For, ast.While, ast.With, ast.Expr)
_INTERPRETER = {"setrecursionlimit", "set_int_max_str_digits"}


def code_of(completion: str, prefilled: bool, rules: str = "fixed") -> str:
    """The code in a completion.

    prefilled: the prompt ended in an open fence, so the code begins at once and ends at the next fence. Otherwise it
    is in the first fenced block ("fixed": up to the end where that is not closed), or all of the completion.
    "reference" takes every completion for a prefilled one.
    """
    check_rules(rules)
    text = completion.replace("\r\n", "\n")
    if rules == "fixed" and (opened := _OPEN.search(text)) and (not prefilled or not text[: opened.start()].strip()):
        return text[opened.end() :].split("```")[0]
    return text.split("```")[0]


def sanitized(code: str, entry_point: str, also: Collection[str] = (), rules: str = "fixed") -> str:
    """Of a program, the imports and the top-level definitions that `entry_point` needs, in their order.

    also: other names that are needed, where the program defines them (classes that its tests make objects of). What
    does not parse is cut after the last line up to which it does. All of that comes back where nothing defines the
    entry point. Calls, prints and blocks under `if __name__` go, and in "reference" all loops and calls; "fixed" keeps
    those that fill a variable which the entry point needs, unless they call it, and the recursion limit.
    """
    check_rules(rules)
    tree = _parsed(code)
    if tree is None:
        return code
    data = _assigned(tree) if rules == "fixed" else set()
    names = {id(node): _defined(node) | _filled(node, data, entry_point) for node in tree.body}
    if not any(entry_point in found for found in names.values()):
        return _lines(code, tree.body)
    needed, before = {entry_point, *also}, set()
    while needed != before:
        before = set(needed)
        for node in tree.body:
            if names[id(node)] & needed:
                needed |= _mentioned(node)
    kept = lambda n: isinstance(n, _IMPORTS) or names[id(n)] & needed or (rules == "fixed" and _sets_up(n))  # noqa: E731
    return _lines(code, list(filter(kept, tree.body)))


def _assigned(tree: ast.Module) -> set[str]:
    """The variables of a program: what its top level assigns."""
    return set().union(*(_defined(node) for node in tree.body if isinstance(node, _ASSIGNMENTS)))


def _filled(node: ast.stmt, data: set[str], entry_point: str) -> set[str]:
    """The variables that a loop or a call of the top level may change; none if it uses the entry point."""
    if not isinstance(node, _STEPS) or entry_point in (names := _mentioned(node)):
        return set()
    return names & data


def _sets_up(node: ast.stmt) -> bool:
    """Whether a statement sets a limit of the interpreter, `sys.setrecursionlimit(...)`."""
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr in _INTERPRETER


def _lines(code: str, nodes: list[ast.stmt]) -> str:
    """The lines that statements stand on, decorators included."""
    kept: set[int] = set()
    for node in nodes:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        kept |= set(range(first, (node.end_lineno or node.lineno) + 1))
    return "\n".join(line for number, line in enumerate(code.split("\n"), 1) if number in kept)


def _parsed(code: str) -> ast.Module | None:
    """The longest run of whole lines from the start that is a program; None if only the empty one is."""
    lines = code.split("\n")
    for end in range(len(lines), 0, -1):
        try:
            tree = ast.parse("\n".join(lines[:end]))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return tree if tree.body else None
    return None


def _defined(node: ast.AST) -> set[str]:
    """Names that a top-level statement binds; an `if` or `try` binds what is in it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
    if isinstance(node, ast.Try) or (isinstance(node, ast.If) and not _asks_name(node)):
        return set().union(*(_defined(inner) for inner in ast.walk(node) if isinstance(inner, _BINDING)))
    return set()


def _asks_name(node: ast.If) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == "__name__" for inner in ast.walk(node.test))


def function_under_test(tests: Sequence[str], code: str = "") -> str | None:
    """The function that assertions are about: the first that they call and `code`, a right solution, defines.

    Without code the first that is no builtin. None if there is none, or the assertions do not parse.
    """
    tree, solution = _parsed("\n".join(tests)), _parsed(code)
    if tree is None:
        return None
    defined = set().union(*map(_defined, solution.body)) if solution else set()
    asserted = [inner for node in tree.body if isinstance(node, ast.Assert) for inner in ast.walk(node.test)]
    called = [n.func for n in asserted if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    names = [f.id for f in sorted(called, key=lambda f: (f.lineno, f.col_offset))]
    own = [name for name in names if (name in defined if defined else not hasattr(builtins, name))]
    return own[0] if own else None


def names_in(tests: Sequence[str]) -> set[str]:
    """The names that lines of code mention; none where they do not parse."""
    tree = _parsed("\n".join(tests))
    return _mentioned(tree) if tree else set()


def mbpp_program(code: str, tests: Sequence[str], setup: str = "", entry_point: str | None = None) -> Program:
    """The program that is right if every one of the assertions holds.

    setup: code that comes before the assertions, and before the program as far as it does not need that. entry_point:
    the function that they are about, which may have the name of a built-in (`sum`).
    """
    before = _independent(setup, _parsed(code))
    checks = "\n".join([_trusted(setup), *tests])
    return Program(f"{before}\n{code}" if before else code, checks, (entry_point,) if entry_point else ())


def humaneval_program(prompt: str, code: str, test: str, entry_point: str) -> Program:
    """Prompt, completion, the tests' `check`, and a call of it.

    Code that defines the entry point itself follows the prompt's imports and helpers; a body continues the prompt.
    The tests have the prompt's imports and helpers as the prompt has them, whatever the program makes of these names.
    """
    whole = re.search(rf"^(?:async\s+)?def\s+{re.escape(entry_point)}\s*\(", code, re.MULTILINE)
    helpers = prompt[: _start(prompt, entry_point)]
    checks = f"{_trusted(helpers)}\n{test}\ncheck({entry_point})\n"
    return Program(f"{helpers}\n{code}" if whole else prompt + _body(prompt, code), checks, (entry_point,))


def _body(prompt: str, code: str) -> str:
    """The code, with the first of its spaces back: Llama 2's tokenizer and Mistral's leave it out of a text."""
    last = prompt.rstrip().rpartition("\n")[2]
    depth, found = (len(line) - len(line.lstrip(" ")) for line in (last, code))
    return f" {code}" if found == depth - 1 else code


def _trusted(text: str) -> str:
    """A problem's own code without its classes: what checks may use without asking the program."""
    tree = _parsed(text)
    return _lines(text, [node for node in tree.body if not isinstance(node, ast.ClassDef)]) if tree else ""


def _independent(setup: str, program: ast.Module | None) -> str:
    """The statements of a setup that need nothing that the program defines."""
    tree = _parsed(setup)
    if tree is None:
        return setup
    later, kept = set().union(*map(_defined, program.body)) if program else set(), []
    for node in tree.body:
        if _mentioned(node) & later:
            later |= _defined(node)
        else:
            kept.append(node)
    return _lines(setup, kept)


def _mentioned(tree: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(tree) if isinstance(inner, ast.Name)}


def _start(prompt: str, entry_point: str) -> int:
    """Where the last function of a prompt begins, which is the one to complete."""
    places = [m.start() for m in re.finditer(rf"^def\s+{re.escape(entry_point)}\s*\(", prompt, re.MULTILINE)]
    return places[-1] if places else len(prompt)
