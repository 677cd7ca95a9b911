"""Text of the form name{key=value,...}."""

from __future__ import annotations

import pytest

from onnxbf.errors import SpecError
from onnxbf.spec import Spec, parse_spec

SPECS = {
    "bf16": Spec("bf16"),
    "bf16:sr{bits=8}": Spec("bf16:sr", {"bits": "8"}),
    "a{b=1,c=d e}": Spec("a", {"b": "1", "c": "d e"}),
    "  a { b = 1 , c = 2 } ": Spec("a", {"b": "1", "c": "2"}),
    "a{}": Spec("a"),
    "chain{first=clip{max=1,min=0},second=sgd}": Spec(
        "chain", {"first": "clip{max=1,min=0}", "second": "sgd"}
    ),
    "a{b=c=d}": Spec("a", {"b": "c=d"}),
    "a{b=1,}": Spec("a", {"b": "1"}),
}


@pytest.mark.parametrize(("text", "spec"), SPECS.items())
def test_specs_are_read(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected name or name{key=value,...}"),
        ("{a=1}", "expected name or name{key=value,...}"),
        ("a{b=1", "expected name or name{key=value,...}"),
        ("a}b{", "expected name or name{key=value,...}"),
        ("a{b=1}c", "expected name or name{key=value,...}"),
        ("a{b}", "option 'b'"),
        ("a{=1}", "option '=1'"),
        ("a{b=}", "option 'b='"),
        ("a{b=1,b=2}", "'b' stands twice"),
        ("a{b={1}", "braces"),
        ("a{b=}{c=}", "braces"),
    ],
)
def test_what_cannot_be_read_says_what_was_expected(text: str, told: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_spec(text)
    assert told in str(error.value)
    assert repr(text) in str(error.value)
