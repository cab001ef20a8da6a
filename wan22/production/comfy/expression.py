"""The expressions of ComfyUI's ComfyMathExpression: numbers, names, operators, and a few functions; never more."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

_LONGEST = 500
_LARGEST = 2.0**53
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.Pow: lambda base, power: base**power if abs(base) < 1e6 and abs(power) <= 16 else math.nan,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert,
}  # fmt: skip
_CALLS: dict[str, Callable[..., Any]] = {
    "floor": math.floor, "ceil": math.ceil, "round": round, "abs": abs, "min": min, "max": max, "int": int,
    "float": float, "sqrt": math.sqrt,
}  # fmt: skip


def evaluate(text: Any, names: Mapping[str, Any], kind: str) -> float | int | None:
    """What an expression of `names` comes to, as its output `kind` ("FLOAT" or "INT") has it.

    None if it is none, names what is not known, or does more than arithmetic.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        return None
    try:
        found = _of(ast.parse(text.strip(), mode="eval").body, names)
        return int(found) if kind == "INT" else float(found)
    except (
        SyntaxError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError, MemoryError,
    ):  # fmt: skip
        return None


def _of(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value):
            found = value
        case ast.Name(id=name):
            found = names[name]
        case ast.UnaryOp(op=op, operand=one):
            found = _UNARY[type(op)](_of(one, names))
        case ast.BinOp(left=left, op=op, right=right):
            found = _BINARY[type(op)](_of(left, names), _of(right, names))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            found = _CALLS[name](*(_of(each, names) for each in args))
        case _:
            raise ValueError("not arithmetic")
    if isinstance(found, str) or not abs(found) <= _LARGEST:
        raise ValueError("no number that is of use")
    return found
