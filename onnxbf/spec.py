"""One reader for every option written ``name{key=value,...}``.

Casts, recipes' effects, schedules and optimizers are all given in this form on the command line
and in TOML files. Values may hold braces and brackets of their own, so specs nest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from onnxbf.errors import SpecError

_SPEC = re.compile(r"^(?P<name>[^{}]+)(?:\{(?P<options>.*)\})?$", re.DOTALL)


class TextEnum(str, Enum):
    """An enumeration whose members print as their value (enum.StrEnum needs Python 3.11)."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Spec:
    """A name and its options, all still text."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}{{{','.join(f'{k}={v}' for k, v in self.options.items())}}}"


def parse_spec(text: str) -> Spec:
    """Read ``name`` or ``name{key=value,...}``.

    Raises:
        SpecError: braces that do not match, or an option that is not ``key=value``.
    """
    match = _SPEC.match(text.strip())
    if match is None:
        raise SpecError(f"Cannot read {text!r}: expected name or name{{key=value,...}}.")
    options: dict[str, str] = {}
    for item in split_items(match["options"] or "", text):
        key, equals, value = item.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise SpecError(f"Cannot read option {item!r} in {text!r}: expected key=value.")
        if key.strip() in options:
            raise SpecError(f"Option {key.strip()!r} stands twice in {text!r}.")
        options[key.strip()] = value.strip()
    return Spec(match["name"].strip(), options)


def split_items(options: str, text: str) -> list[str]:
    """Split at the commas that stand outside of inner braces and brackets."""
    items, depth, start = [], 0, 0
    for position, character in enumerate(options):
        depth += (character in "{[") - (character in "}]")
        if depth < 0:
            break
        if character == "," and depth == 0:
            items.append(options[start:position])
            start = position + 1
    if depth != 0:
        raise SpecError(f"The braces in {text!r} do not match.")
    items.append(options[start:])
    return [item for item in items if item.strip()] if options.strip() else []
