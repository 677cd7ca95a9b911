"""Recipes: which tensors around which nodes are brought into which format.

A recipe is an ordered list of rules; the first whose keys (node name, operator, phase) match a node
decides, by one cast per tensor role, and a role without a cast stays in float32. Ready-made ones
are in RECIPES; others are read from TOML files of the form that ``str(recipe)`` prints.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from onnxbf.arithmetic import Arithmetic, parse_arithmetic
from onnxbf.casts import AnyCast, parse_any_cast
from onnxbf.errors import NameUnknown, OnnxbfError, OptionUnknown, SpecError, UnsupportedError
from onnxbf.formats import Cast
from onnxbf.graph import Phase
from onnxbf.operators import OPERATORS, Kind, Role
from onnxbf.ready_made import FAMILIES, READY_MADE, ReadyMade
from onnxbf.spec import Spec, parse_spec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ANY = "*"
# Operators that can sum as an arithmetic says.
EMULATED = (
    "MatMul",
    "FusedMatMul",
    "Gemm",
    "Conv",
    "ConvTranspose",
    "ConvGrad",
    "ReduceSum",
    "ReduceMean",
    "Softmax",
    "LayerNormalization",
    "SoftmaxGrad_13",
    "LayerNormalizationGrad",
)
_NOT_ROUNDED = "fp32"  # in the text of a recipe: no cast
_NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Keys above, effects below.

    Attributes:
        ops: operator types and classes (``gemm``, ``elementwise`` ...); ``*`` is every compute op.
        name: a regular expression found in the node's name; None matches all.
        phase: None matches all.
        arithmetic: how products and convolutions sum; None as the runtime does.
        weight_gradients: the gradients of weights, rounded when they are whole. Until then, and
            where this is None, they are in float32, whatever ``outputs`` says.
    """

    ops: tuple[str, ...] = (_ANY,)
    name: str | None = None
    phase: Phase | None = None

    inputs: AnyCast | None = None
    weights: AnyCast | None = None
    bias: AnyCast | None = None
    outputs: AnyCast | None = None
    gradients: AnyCast | None = None
    weight_gradients: AnyCast | None = None
    arithmetic: Arithmetic | None = None

    def matches(self, node_name: str, op_type: str, kind: Kind, phase: Phase) -> bool:
        if self.phase is not None and self.phase is not phase:
            return False
        if self.name is not None and re.search(self.name, node_name) is None:
            return False
        return kind in self.ops or op_type in self.ops or _ANY in self.ops

    def cast(self, role: Role) -> AnyCast | None:
        """The effect on a tensor of this role."""
        chosen: AnyCast | None = getattr(self, role.value)
        return chosen

    @property
    def casts(self) -> tuple[AnyCast, ...]:
        found = (self.cast(role) for role in Role)
        return tuple(cast for cast in found if cast is not None)

    def __str__(self) -> str:
        lines = ["[[rules]]", f"ops = [{', '.join(_quoted(op) for op in self.ops)}]"]
        values = ((field.name, getattr(self, field.name)) for field in fields(self)[1:])
        lines += [f"{key} = {_quoted(str(value))}" for key, value in values if value is not None]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Ordered rules; the first match wins."""

    name: str
    summary: str
    rules: tuple[Rule, ...]

    def match(self, node_name: str, op_type: str, kind: Kind, phase: Phase) -> Rule | None:
        for rule in self.rules:
            if rule.matches(node_name, op_type, kind, phase):
                return rule
        return None

    @property
    def casts(self) -> frozenset[Cast]:
        """Every cast into a number format that some rule names."""
        found = (cast for rule in self.rules for cast in rule.casts)
        return frozenset(cast for cast in found if isinstance(cast, Cast))

    @property
    def rounds(self) -> bool:
        """Whether some rule names a cast or a quantizer."""
        return any(rule.casts for rule in self.rules)

    @property
    def arithmetics(self) -> frozenset[Arithmetic]:
        """Every arithmetic that some rule names."""
        return frozenset(rule.arithmetic for rule in self.rules if rule.arithmetic is not None)

    def __str__(self) -> str:
        head = f"name = {_quoted(self.name)}\nsummary = {_quoted(self.summary)}"
        return "\n\n".join([head, *map(str, self.rules)]) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A ready-made recipe by name, or one read from a TOML file.

    ``bf16{weight_gradients=fp32}`` is the ready-made ``bf16`` with another cast, or none, wherever
    it has one for this role.

    Raises:
        NameUnknown: neither a recipe nor a file; or an unknown key, operator or cast in the file.
        SpecError: a file that is not of the form a recipe prints, or a role that the recipe has no
            cast for.
    """
    text = str(name_or_path)
    if text in RECIPES:
        return RECIPES[text]
    path = Path(name_or_path)
    if not os.path.isfile(path):
        return _changed(text)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"Recipe {text!r} is not TOML: {error}.") from None
    except OSError as error:
        raise SpecError(f"Cannot read recipe {text!r}: {error.strerror}.") from None
    try:
        return _recipe(data, path.stem)
    except OnnxbfError as error:
        raise SpecError(f"Recipe {text!r}: {error}") from None


def _changed(text: str) -> Recipe:
    spec = parse_spec(text)
    if spec.name not in RECIPES:
        raise NameUnknown("recipe", text, RECIPES, "A recipe may also be the path of a TOML file.")
    base, options = RECIPES[spec.name], dict(spec.options)
    if spec.name in FAMILIES:
        base = _of_family(spec.name, options)
    rules = base.rules
    for role, cast in options.items():
        rules = _with_cast(rules, role, cast, spec)
    return Recipe(str(spec), base.summary, rules)


def _of_family(name: str, options: dict[str, str]) -> Recipe:
    """A member of a family, whose own parameters are taken out of ``options``."""
    parameters = inspect.signature(FAMILIES[name]).parameters
    own = {key: options.pop(key) for key in parameters if key in options}
    for key, text in own.items():
        if not text.isdecimal():
            raise SpecError(f"{key} of recipe {name!r} is a whole number, not {text!r}.")
    return _ready_made(name, FAMILIES[name](**{key: int(text) for key, text in own.items()}))


def _with_cast(rules: tuple[Rule, ...], role: str, text: str, spec: Spec) -> tuple[Rule, ...]:
    if role not in [known.value for known in Role]:
        own = inspect.signature(FAMILIES[spec.name]).parameters if spec.name in FAMILIES else ()
        known = [*own, *(each.value for each in Role)]
        raise OptionUnknown(f"recipe {spec.name!r}", role, known)
    cast = None if text == _NOT_ROUNDED else _cast(text)
    if all(rule.cast(Role(role)) is None for rule in rules):
        raise SpecError(f"Recipe {spec.name!r} does not round {role}, so {spec} changes nothing.")
    change: dict[str, Any] = {role: cast}
    return tuple(
        rule if rule.cast(Role(role)) is None else replace(rule, **change) for rule in rules
    )


def _recipe(data: Mapping[str, Any], name: str) -> Recipe:
    _only_keys(data, ("name", "summary", "rules"), "recipe")
    rules = data.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise SpecError("rules must be tables headed [[rules]].")
    named = {key: data.get(key, default) for key, default in (("name", name), ("summary", ""))}
    for key, value in named.items():
        if not isinstance(value, str):
            raise SpecError(f"{key} is text, not {value!r}.")
    if not _NAME.fullmatch(named["name"]):
        raise SpecError(
            f"the name {named['name']!r} becomes part of file names: letters, digits, '.', '_' "
            "and '-' alone."
        )
    return Recipe(named["name"], named["summary"], tuple(map(_rule, rules)))


def _rule(data: Mapping[str, Any]) -> Rule:
    readers: dict[str, Callable[[Any], Any]] = {
        "ops": _ops,
        "name": _pattern,
        "phase": _phase,
        **{role.value: _cast for role in Role},
        "arithmetic": _arithmetic,
    }
    _only_keys(data, tuple(readers), "rule")
    rule = Rule(**{key: readers[key](value) for key, value in data.items()})
    _check_arithmetic(rule)
    return rule


def _arithmetic(value: Any) -> Arithmetic:
    if not isinstance(value, str):
        raise SpecError(f'an arithmetic is text like "avx512_bf16", not {value!r}.')
    return parse_arithmetic(value)


def _check_arithmetic(rule: Rule) -> None:
    """Refuse an arithmetic for an operator that is named and has none."""
    classes = (_ANY, *(kind.value for kind in Kind))
    for op in rule.ops:
        if rule.arithmetic is not None and op not in (*EMULATED, *classes):
            raise UnsupportedError(
                f"{op} cannot sum as {rule.arithmetic}: only {', '.join(EMULATED)} can."
            )


def _cast(value: Any) -> AnyCast:
    if not isinstance(value, str):
        raise SpecError(f'a cast is text like "bf16:rne", not {value!r}.')
    return parse_any_cast(value)


def _ops(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise SpecError(f"ops must be a list of operator types, not {value!r}.")
    for name in names:
        check_op_type(name)
    return tuple(names)


def check_op_type(name: str) -> None:
    """Raise NameUnknown unless ``name`` is an operator that recipes can round, or a class."""
    compute = [op for op, row in OPERATORS.items() if row.kind is not Kind.MOVEMENT]
    classes = [kind.value for kind in Kind if kind is not Kind.MOVEMENT]
    if name not in (_ANY, *compute, *classes):
        hint = f"Classes: {', '.join(classes)}. Operators that only move values are not rounded."
        raise NameUnknown("operator type", name, [*compute, *classes], hint)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression that is found in node names; SpecError if it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SpecError(f"{pattern!r} is not a regular expression: {error}.") from None


def _pattern(value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError(f"a rule's name is a regular expression, not {value!r}.")
    return compile_pattern(value).pattern


def _phase(value: Any) -> Phase:
    known = [phase.value for phase in Phase]
    if value not in known:
        raise NameUnknown("phase", str(value), known)
    return Phase(value)


def _only_keys(data: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in known:
            raise OptionUnknown(f"a {where}", key, known, "key")


def _ready_made(name: str, made: ReadyMade) -> Recipe:
    return Recipe(name, made.summary, tuple(map(_rule, made.rules)))


RECIPES: dict[str, Recipe] = {
    **{name: _ready_made(name, made) for name, made in READY_MADE.items()},
    **{name: _ready_made(name, make()) for name, make in FAMILIES.items()},
}
