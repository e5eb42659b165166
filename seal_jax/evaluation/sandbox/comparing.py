"""Checks whose `==` a program cannot decide: an object with an `__eq__` of the program's own equals no plain value.

Learning from rewards finds such objects. Two objects of the program's own classes are compared as the program says.
"""

from __future__ import annotations

import ast
from types import CodeType, FunctionType
from typing import Any

_SAME = "__same__"
_DEEPEST = 50


def compiled(checks: str, program_file: str) -> tuple[CodeType, dict[str, Any]]:
    """The checks with each `a == b` made safe, and names to run them with. SyntaxError as `compile`."""
    tree = ast.fix_missing_locations(_Equals().visit(ast.parse(checks)))

    def same(left: Any, right: Any) -> Any:
        if _owns(left, program_file) != _owns(right, program_file):
            return False
        return left == right

    return compile(tree, "<checks>", "exec", dont_inherit=True), {_SAME: same}


class _Equals(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq):
            return node
        call = ast.Call(ast.Name(_SAME, ast.Load()), [node.left, *node.comparators], [])
        return ast.copy_location(call, node)


def _owns(value: Any, program_file: str, depth: int = 0) -> bool:
    """Whether a value, or something in a plain container, is compared by a function of the program's."""
    if depth > _DEEPEST:
        return False
    if type(value) in (list, tuple, set, frozenset):
        return any(_owns(member, program_file, depth + 1) for member in value)
    if type(value) is dict:
        return any(_owns(member, program_file, depth + 1) for pair in value.items() for member in pair)
    equals = type(value).__eq__
    return isinstance(equals, FunctionType) and equals.__code__.co_filename == program_file
