"""Turn a finished function into what a learner starts from, and into what a folded solution shows."""

from __future__ import annotations

import ast
import builtins
import symtable

from dpo_lab.course.layout import CourseError
from dpo_lab.course.library import Finished

STUB_BODY = 'raise NotImplementedError("write me")'


def stub(finished: Finished) -> str:
    """Signature, types and docstring of a function, with a body that says that it is not written.

    Raises:
        CourseError: the function has no docstring, so a learner could not know what to write.
    """
    lines, docstring = finished.source.splitlines(), _docstring(finished)
    return "\n".join([*lines[: docstring.end_lineno], f"{' ' * docstring.col_offset}{STUB_BODY}"])


def without_docstring(finished: Finished) -> str:
    """The function's source without its docstring, which the stub has shown already."""
    lines, docstring = finished.source.splitlines(), _docstring(finished)
    return "\n".join([*lines[: docstring.lineno - 1], *lines[docstring.end_lineno :]])


def _docstring(finished: Finished) -> ast.Expr:
    first = finished.node.body[0]
    if ast.get_docstring(finished.node) is None or not isinstance(first, ast.Expr):
        raise CourseError(
            f"`{finished.name}` in {finished.module} has no docstring: a learner needs it as the task"
        )
    return first


def names_needed(source: str) -> set[str]:
    """Global names that a piece of Python uses and doesn't define."""
    table = symtable.symtable(source, "<exercise>", "exec")
    used: set[str] = set()
    pending = [table]
    while pending:
        scope = pending.pop()
        pending += scope.get_children()
        for symbol in scope.get_symbols():
            is_global = symbol.is_global() or (scope is table and not symbol.is_assigned())
            if symbol.is_referenced() and is_global:
                used.add(symbol.get_name())
    return used - names_bound(ast.parse(source).body) - set(dir(builtins))


def names_bound(statements: list[ast.stmt]) -> set[str]:
    """Names that statements bind at top level; "*" stands for a star import."""
    bound: set[str] = set()
    for statement in statements:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(statement.name)
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.alias):
                bound.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
    return bound
