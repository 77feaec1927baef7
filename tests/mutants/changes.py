"""All small wrong changes of a source file: pure, from text to text.

A change replaces one piece of the text; what surrounds it stays as it is, so that its diff says
what was changed and nothing else. Skipped are annotations, docstrings, patterns, f-strings (whose
positions Python 3.11 does not know) and statements without which a name would be missing: any test
notices those.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Change:
    """kind: what was done.  line: where.  start, end: bytes of the source that ``new`` replaces."""

    file: str
    line: int
    kind: str
    start: int
    end: int
    new: str

    def applied(self, source: str) -> str:
        """The file with the change."""
        data = source.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()


_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
# What needs no parentheses, wherever it stands.
_ALONE = ast.Constant | ast.Call | ast.Name | ast.Attribute | ast.List | ast.Dict | ast.Set
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}


def changes_of(file: str, source: str) -> list[Change]:
    """Every change of the file, in the order of its lines."""
    found = {(x.start, x.end, x.new): x for x in _Finder(file, source).of(ast.parse(source))}
    return [found[place] for place in sorted(found)]


class _Finder:
    def __init__(self, file: str, source: str) -> None:
        self._file = file
        self._lines = [0]
        for line in source.encode().splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def of(self, tree: ast.AST) -> Iterator[Change]:
        for node in _code(tree):
            if isinstance(node, ast.expr):
                for kind, new in _expressions(node):
                    text = ast.unparse(new)
                    if text == ast.unparse(node):
                        continue
                    alone = isinstance(new, _ALONE) and not text.startswith("-")
                    yield self._replace(node, kind, text if alone else f"({text})")
            if isinstance(node, ast.If | ast.While | ast.IfExp):
                negated = ast.unparse(ast.UnaryOp(ast.Not(), node.test))
                yield self._replace(node.test, "condition negated", f"({negated})")
            if isinstance(node, ast.comprehension):
                for test in node.ifs:
                    yield self._replace(test, "filter dropped", "True")
            if isinstance(node, ast.stmt) and _droppable(node):
                yield self._replace(node, "statement dropped", "pass")
            if isinstance(node, Function):
                yield from self._early_returns(node)

    def _early_returns(self, function: Function) -> Iterator[Change]:
        returns = function.returns
        if not (isinstance(returns, ast.Constant) and returns.value is None):
            return
        # Not before the last: that one is dropped anyway.
        for statement in function.body[1:-1]:
            at = self._at(statement.lineno, statement.col_offset)
            indent = " " * statement.col_offset
            yield Change(self._file, statement.lineno, "early return", at, at, f"return\n{indent}")

    def _replace(self, node: ast.expr | ast.stmt, kind: str, new: str) -> Change:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._at(node.lineno, node.col_offset)
        end = self._at(node.end_lineno, node.end_col_offset)
        return Change(self._file, node.lineno, kind, start, end, new)

    def _at(self, line: int, column: int) -> int:
        return self._lines[line - 1] + column


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that do something."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.Import | ast.ImportFrom | ast.pattern):
                continue
            yield from _code(child)


def _droppable(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()):
            return True
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
    return False


def _expressions(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """What an expression could be by mistake."""
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and/or swapped", ast.BoolOp(other, node.values)
            for place in range(len(node.values)):
                left = _without(node.values, place)
                yield (
                    "part of a condition dropped",
                    left[0] if len(left) == 1 else ast.BoolOp(node.op, left),
                )
        case ast.UnaryOp(op=ast.Not()):
            yield "not removed", node.operand
        case ast.BinOp(op=op) if type(op) in _CALCULATED:
            yield "operator swapped", ast.BinOp(node.left, _CALCULATED[type(op)](), node.right)
        case ast.Constant():
            yield from _constants(node)
        case ast.Call():
            yield from _calls(node)
        case ast.Tuple(ctx=ast.Load()) | ast.List(ctx=ast.Load()) if len(node.elts) > 1:
            for place in range(len(node.elts)):
                yield "element removed", type(node)(_without(node.elts, place), ast.Load())
        case ast.Set() if len(node.elts) > 1:
            for place in range(len(node.elts)):
                yield "element removed", ast.Set(_without(node.elts, place))
        case ast.Dict():
            for place in range(len(node.keys)):
                keys, values = _without(node.keys, place), _without(node.values, place)
                yield "entry removed", ast.Dict(keys, values)


def _comparisons(node: ast.Compare) -> Iterator[tuple[str, ast.expr]]:
    for place, op in enumerate(node.ops):
        ops = [*node.ops]
        ops[place] = _COMPARED[type(op)]()
        yield "comparison swapped", ast.Compare(node.left, ops, node.comparators)


def _constants(node: ast.Constant) -> Iterator[tuple[str, ast.expr]]:
    match node.value:
        case bool():
            yield "constant changed", ast.Constant(not node.value)
        case int():
            yield "constant + 1", ast.Constant(node.value + 1)
            yield "constant - 1", ast.Constant(node.value - 1)
        case float():
            yield "constant doubled", ast.Constant(node.value * 2 or 1.0)
            yield "constant negated", ast.Constant(-node.value or -1.0)


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    args, keywords = node.args, node.keywords
    match node.func:
        case ast.Name(id=name) if name in _CALLED:
            yield "function swapped", ast.Call(ast.Name(_CALLED[name]), args, keywords)
        case ast.Attribute(attr="get" | "pop" | "setdefault") if len(args) == 2:
            yield "default dropped", ast.Call(node.func, args[:1], keywords)
    for place in range(len(keywords)):
        yield "argument dropped", ast.Call(node.func, args, _without(keywords, place))
    if isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
        return  # their order does not matter
    for place in range(len(args) - 1):
        swapped = [*args]
        swapped[place : place + 2] = args[place + 1], args[place]
        yield "arguments swapped", ast.Call(node.func, swapped, keywords)


def _without(items: Sequence[T], place: int) -> list[T]:
    return [*items[:place], *items[place + 1 :]]
