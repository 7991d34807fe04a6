"""Variables of Numba's IR told apart before types are inferred, without static single assignment.

Inference gives a variable one type, lowering a place on the stack, of which LLVM makes registers.
Printed kernels use names again for vectors of other lengths, but each time within a block; whatever
lives longer has one type. So names are told apart within blocks in one walk, where Numba's own pass
walks once over all statements for each variable (a fifth of the time that a kernel took), and makes
copies at the ends of blocks that have to be lowered as well. :func:`have_one_type` says whether
that was enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from importlib import import_module
from itertools import count
from typing import Any


def told_apart(blocks: dict[int, Any]) -> dict[int, Any]:
    """Return blocks in which each definition of a variable that lives in its block has a name.

    Rewrite:
        ``a = f(x); g(a); a = h(x); g(a)`` -> ``a.0 = f(x); g(a.0); a.1 = h(x); g(a.1)``
    """
    ir = import_module("numba.core.ir")
    living: set[str] = set()  # used where their block has not defined them
    n_definitions: Counter[str] = Counter()
    used: dict[int, list[str]] = {}  # by the statement's identity
    for block in blocks.values():
        defined: set[str] = set()
        for statement in block.body:
            is_assignment = isinstance(statement, ir.Assign)
            names = used[id(statement)] = _used(statement.value if is_assignment else statement, ir)
            living.update(name for name in names if name not in defined)
            if is_assignment:
                defined.add(statement.target.name)
                n_definitions[statement.target.name] += 1
    several = {name for name, n in n_definitions.items() if n > 1} - living
    numbers = {name: count() for name in several}
    return {label: _renamed(block, numbers, used, ir) for label, block in blocks.items()}


def _used(part: Any, ir: Any) -> list[str]:
    """Return the names of the variables that a statement or value reads."""
    if isinstance(part, ir.Var):
        return [part.name]
    return [v.name for v in part.list_vars()] if isinstance(part, ir.Inst) else []


def _renamed(
    block: Any, numbers: Mapping[str, Iterator[int]], used: dict[int, list[str]], ir: Any
) -> Any:
    utilities = import_module("numba.core.ir_utils")
    result = ir.Block(scope=block.scope, loc=block.loc)
    now: dict[str, Any] = {}  # what reads of a name mean here
    for statement in block.body:
        replaced = {name: now[name] for name in used[id(statement)] if name in now}
        if not isinstance(statement, ir.Assign):
            if replaced:
                statement = copy(statement)
                utilities.replace_vars_stmt(statement, replaced)
            result.body.append(statement)
            continue
        value, target = statement.value, statement.target
        if replaced:
            if isinstance(value, ir.Var):
                value = replaced[value.name]
            else:
                value = copy(value)
                value._kws = dict(value._kws)
                utilities.replace_vars_inner(value, replaced)
        if target.name in numbers:
            name = f"{target.name}.{next(numbers[target.name])}"
            now[target.name] = target = ir.Var(block.scope, name, statement.loc)
        result.body.append(ir.Assign(target=target, value=value, loc=statement.loc))
    return result


def have_one_type(
    blocks: dict[int, Any],
    typemap: Mapping[str, Any],
    calltypes: Mapping[Any, Any],
    typeof: Callable[[Any], Any],
) -> bool:
    """Say whether all definitions of each variable have the type that inference gave it.

    Where they have not, values would be converted to a type that all of them fit into.
    """
    ir, types = import_module("numba.core.ir"), import_module("numba.core.types")
    assignments = [
        statement
        for block in blocks.values()
        for statement in block.body
        if isinstance(statement, ir.Assign)
    ]
    n_definitions = Counter(statement.target.name for statement in assignments)
    for statement in assignments:
        name, value = statement.target.name, statement.value
        if n_definitions[name] == 1:
            continue
        if isinstance(value, ir.Var):
            found = typemap[value.name]
        elif isinstance(value, ir.Arg):
            found = typemap[f"arg.{value.name}"]
        elif isinstance(value, ir.Const):
            found = typeof(value.value)
        elif (signature := calltypes.get(value)) is not None:
            found = signature.return_type
        else:
            return False
        if types.unliteral(found) != types.unliteral(typemap[name]):
            return False
    return True
