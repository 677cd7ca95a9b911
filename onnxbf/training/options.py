"""Build an object from the text that names it: ``name{key=value,...}``.

The options are the keyword parameters of what builds the object, converted as their annotations
say, so a table of builders is all that a new schedule, loss or optimizer needs.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from onnxbf.errors import NameUnknown, OptionUnknown, SpecError
from onnxbf.spec import parse_spec, split_items

T = TypeVar("T")

_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


Parsers = Mapping[type, Callable[[str], Any]]
_NONE: Parsers = types.MappingProxyType({})


def build(
    text: str, table: Mapping[str, Callable[..., T]], kind: str, parsers: Parsers = _NONE
) -> T:
    """What ``table`` builds for a text.

    Args:
        text: such as ``sgd{momentum=0.9}``; tuples are written ``[1,2,3]``.
        table: the builders by name.
        kind: what errors call these objects: schedule, loss, optimizer ...
        parsers: how to read options of other types than numbers, truth values and text.

    Raises:
        NameUnknown: no such object, or no such option of it.
        SpecError: a value that is not of the option's type, or a required option that is missing.
    """
    spec = parse_spec(text)
    builder = table.get(spec.name)
    if builder is None:
        raise NameUnknown(kind, spec.name, table)
    parameters = inspect.signature(builder).parameters
    hints = typing.get_type_hints(builder.__init__ if inspect.isclass(builder) else builder)
    values = {}
    for option, value in spec.options.items():
        if option not in parameters:
            raise OptionUnknown(f"{kind} {spec.name!r}", option, parameters)
        try:
            values[option] = _convert(value, hints.get(option, str), parsers)
        except ValueError as error:
            raise SpecError(
                f"Option {option!r} of {kind} {spec.name!r} cannot be {value!r}: {error}."
            ) from None
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in values:
            raise SpecError(
                f"The {kind} {spec.name!r} needs option {name!r}: {spec.name}{{{name}=...}}."
            )
    try:
        return builder(**values)
    except ValueError as error:
        raise SpecError(f"The {kind} {text!r} cannot be had: {error}.") from None


def _convert(text: str, annotation: Any, parsers: Parsers) -> Any:
    """Text as a value of an annotated type; ValueError says what was expected."""
    if isinstance(annotation, types.UnionType):  # X | None
        (annotation,) = (part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is tuple:
        kind = typing.get_args(annotation)[0]
        return tuple(_convert(part, kind, parsers) for part in _items(text))
    if annotation in parsers:
        return parsers[annotation](text)
    if annotation is bool:
        if text.lower() not in _TRUTH:
            raise ValueError("expected true or false")
        return _TRUTH[text.lower()]
    if annotation in (int, float):
        return _number(text, annotation)
    return text


def _items(text: str) -> list[str]:
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError("expected a list like [1,2]")
    return [part.strip() for part in split_items(text[1:-1], text)]


def _number(text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ValueError(f"expected {expected}") from None
