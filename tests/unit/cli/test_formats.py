"""``onnxbf formats``."""

from __future__ import annotations

import json

from click.testing import CliRunner, Result

from onnxbf.cli.formats import ROUNDINGS, SPECIALS
from onnxbf.cli.main import group
from onnxbf.formats import FORMATS, Rounding, Specials


def _formats(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["formats", *arguments])


def _row(text: str, name: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


def test_all_formats_and_roundings_are_shown() -> None:
    text = _formats().output
    for name in (*FORMATS, *(rounding.value for rounding in Rounding)):
        assert _row(text, name)
    assert set(ROUNDINGS) == set(Rounding)
    assert set(SPECIALS) == set(Specials)


def test_limits() -> None:
    """Against the tables of IEEE 754 (fp16) and of the OCP 8-bit formats (e4m3fn)."""
    text = _formats().output
    assert _row(text, "fp16")[1:8] == ["16", "5", "10", "65504", "2^-14", "2^-24", "2^-11"]
    assert _row(text, "e4m3fn")[1:] == ["8", "4", "3", "448", "2^-6", "2^-9", "2^-4", "NaN"]


def test_names_choose() -> None:
    text = _formats("half", "e5m7").output
    assert _row(text, "fp16") and _row(text, "e5m7")[1:4] == ["13", "5", "7"]
    assert "tf32" not in text


def test_json() -> None:
    data = json.loads(_formats("bf16", "--json").output)
    (bf16,) = data["formats"]
    assert bf16["max"] == 3.3895313892515355e38
    assert bf16["smallest_subnormal"] == 2.0**-133
    assert data["roundings"].keys() == {rounding.value for rounding in Rounding}


def test_lines_fit_a_terminal() -> None:
    assert max(map(len, _formats().output.splitlines())) <= 100


def test_an_unknown_format_is_refused() -> None:
    result = _formats("e9m9")
    assert result.exit_code == 2
    assert "e9m9" in result.stderr
