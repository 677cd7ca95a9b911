"""``onnxbf selftest``: what it prints and when it fails. The checks have tests of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from onnxbf.arithmetic import Arithmetic
from onnxbf.cli.main import group
from onnxbf.custom_ops import profile_selftest, selftest
from onnxbf.custom_ops.selftest import Check

GOOD = Check("bf16:rne", 4_294_967_296, 0, 12.25, "scalar, avx2")
ABSENT = Check("bf16:rne against VCVTNEPS2BF16", 0, 0, 0.0, "this CPU has no such instruction")
BAD = Check("fp16:rtz", 1000, 2, 0.5, "0x1p-14 gave [0x0]")


def _selftest(monkeypatch: pytest.MonkeyPatch, checks: list[Check], *options: str) -> Result:
    def run_checks(*, quick: bool, threads: int | None) -> Iterator[Check]:
        assert (quick, threads) == ("--quick" in options, None)
        yield from checks

    monkeypatch.setattr(selftest, "run_checks", run_checks)
    return CliRunner().invoke(group, ["selftest", *options])


def test_all_right(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _selftest(monkeypatch, [GOOD, ABSENT], "--quick")
    assert result.exit_code == 0
    good, absent, total = result.output.splitlines()
    assert good.split()[:2] == ["ok", "bf16:rne"] and "4,294,967,296" in good
    assert absent.split()[0] == "none" and absent.endswith(ABSENT.detail)
    assert total == "2 checks, 4,294,967,296 cases, 0 mismatches, 12 s"


def test_a_wrong_bit_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _selftest(monkeypatch, [GOOD, BAD])
    assert result.exit_code == 1
    bad = result.output.splitlines()[1]
    assert bad.split()[0] == "WRONG" and bad.endswith(BAD.detail)
    assert "2 mismatches" in result.output


@pytest.mark.parametrize(("check", "code"), [(GOOD, 0), (BAD, 1)])
def test_json(monkeypatch: pytest.MonkeyPatch, check: Check, code: int) -> None:
    result = _selftest(monkeypatch, [check], "--json")
    data = json.loads(result.output)
    assert result.exit_code == code
    assert data["passed"] is (code == 0)
    assert data["checks"][0]["mismatches"] == check.mismatches


def test_a_profile_is_checked_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    def checks(profile: Arithmetic, *, quick: bool, threads: int | None) -> Iterator[Check]:
        assert (str(profile), quick, threads) == ("kahan", True, 2)
        yield GOOD

    monkeypatch.setattr(profile_selftest, "run_profile_checks", checks)
    arguments = ["selftest", "--quick", "--threads", "2", "--profile", "kahan"]
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 0 and result.output.startswith("ok")


def test_an_unknown_profile_is_refused() -> None:
    result = CliRunner().invoke(group, ["selftest", "--profile", "avx512_bf61"])
    assert result.exit_code == 2
    assert "did you mean 'avx512_bf16'?" in result.output
