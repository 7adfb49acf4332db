"""Functions of a model file, in `compose.FuncTransformer`: named in a state, never written to it.

A state names such a function and the digest of its source. Reading takes it from the model's own definition, where it
stands, or refuses: bytes cannot bring a function along, nor ask for one that the model file does not give the learner.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import linecache
import types
from typing import TypeAlias

from learners.state.forms import NoForm

# Nowhere else does River keep functions that are not its own.
HELD_AT = "river.compose.func.FuncTransformer.func"

Name: TypeAlias = tuple[str, str]
"""Qualified name, and digest of the source: another function is another name."""


def name_of_function(function: types.FunctionType) -> Name:
    """The name that a state has for a function of a model file.

    Comments and layout do not count. Nor does what the function calls or reads outside itself.

    Raises:
        NoForm: its source is not there, or it holds values that its source does not show.
    """
    if function.__closure__:
        raise NoForm("it holds values of the function around it; use functools.partial")
    return function.__qualname__, _digest(function.__code__)


@functools.lru_cache(maxsize=256)
def _digest(code: types.CodeType) -> str:
    linecache.checkcache(code.co_filename)
    source = "".join(linecache.getlines(code.co_filename))
    try:
        nodes = [node for node in ast.walk(ast.parse(source)) if _is(node, code)]
    except SyntaxError as error:
        raise NoForm("its source is not there any more") from error
    if not nodes:
        raise NoForm("its source is not there")
    return hashlib.sha256("\n".join(map(ast.unparse, nodes)).encode()).hexdigest()


def _is(node: ast.AST, code: types.CodeType) -> bool:
    match node:
        case ast.FunctionDef(name=name, lineno=line, decorator_list=decorators):
            return name == code.co_name and code.co_firstlineno == min([line, *(each.lineno for each in decorators)])
        case ast.Lambda(lineno=line):
            # With two on a line both count: then they have one name, which the writer refuses.
            return code.co_name == "<lambda>" and code.co_firstlineno == line
        case _:
            return False
