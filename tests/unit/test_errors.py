"""The tree of errors, and the names they offer."""

from __future__ import annotations

import pytest

from onnxbf import errors
from onnxbf.errors import NameUnknown, OnnxbfError, OptionUnknown

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_stands_in_the_tree(kind: type) -> None:
    assert issubclass(kind, OnnxbfError)
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__doc__


def test_the_nearest_name_is_offered() -> None:
    message = str(NameUnknown("rounding", "rnee", ["rtz", "rne"]))
    assert message == "Unknown rounding 'rnee': did you mean 'rne'?"


def test_all_names_are_offered_where_none_is_near() -> None:
    message = str(NameUnknown("recipe", "zzz", ["fp8", "bf16"], hint="Recipes are TOML files."))
    assert message == "Unknown recipe 'zzz': known: bf16, fp8. Recipes are TOML files."


@pytest.mark.parametrize(
    ("option", "known", "message"),
    [
        ("momentm", ["momentum", "lr"], "X 'x' has no option 'momentm': did you mean 'momentum'?"),
        ("zzz", ["momentum", "lr"], "X 'x' has no option 'zzz': known: lr, momentum."),
        ("zzz", [], "X 'x' has no option 'zzz': it has none."),
    ],
)
def test_an_option_that_does_not_exist(option: str, known: list[str], message: str) -> None:
    assert str(OptionUnknown("x 'x'", option, known)) == message
