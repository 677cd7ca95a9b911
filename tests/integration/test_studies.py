"""Studies whole, as short as they can be: they pass, and with broken rounding they fail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

for _package in ("sklearn", "matplotlib"):
    pytest.importorskip(_package)
from tests.runtime import needs_training  # noqa: E402

pytestmark = needs_training

from onnxbf.errors import NameUnknown, SpecError  # noqa: E402
from onnxbf.range_quantizer import quantize_range  # noqa: E402
from onnxbf.studies import (  # noqa: E402
    bf16,
    contrastive,
    fully_quantized,
    lrbench,
    microscaling,
    narrow_range,
    rich_regime,
    sixteen_bit,
)
from onnxbf.studies.claim import Finding  # noqa: E402
from onnxbf.studies.registry import STUDIES, study_class  # noqa: E402
from onnxbf.studies.study import Cell, Effort, Outcome, Row, Study, effort_for, run_study  # noqa: E402

LONG = {"bf16", "contrastive", "mx", "rich", "sixteen-bit"}  # `make studies` runs them


def _outcome(study: Study, seeds: int | None = None) -> Outcome:
    *_, outcome = run_study(study, effort_for(study, seeds, quick=True))
    assert isinstance(outcome, Outcome)
    return outcome


def _failed(study: Study, seeds: int | None = None) -> set[str]:
    findings = _outcome(study, seeds).findings
    return {finding.claim.name for finding in findings if not finding.passed}


@pytest.mark.parametrize("name", sorted(STUDIES.keys() - LONG))
def test_every_claim_holds(name: str) -> None:
    assert not _failed(study_class(name)())


def test_a_format_that_is_too_coarse_fails_the_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lrbench, "POLICIES", (*lrbench.POLICIES[:2], "SIN{k0=0.001,k1=0.1,l=78}"))
    coarse = "bf16{inputs=e8m1:rtz,weights=e8m1:rtz,outputs=e8m1:rtz,gradients=e8m1:rtz}"
    assert "D3 rounded" in _failed(lrbench.LrBench(recipe=coarse))


class _Image(bf16.Bf16):
    """One network of the study."""

    subjects = tuple(subject for subject in bf16.SUBJECTS if subject.name == "alexnet")
    claims = subjects[0].claims


def test_a_domain_trains_as_well_under_bf16_and_not_in_one_bit() -> None:
    assert not _failed(_Image(), seeds=1)
    coarse = "bf16{inputs=e8m1:rtz,weights=e8m1:rtz,outputs=e8m1:rtz,gradients=e8m1:rtz}"
    assert _failed(_Image(recipe=coarse), seeds=1) == {"alexnet"}


def test_a_perceptron_trains_in_blocks_with_8_bits() -> None:
    digits = microscaling.SUBJECTS[0]
    rows = [row for recipe in ("none", *microscaling.NEAR) for row in digits.rows(recipe, 0)]
    for recipe in microscaling.NEAR:
        verdict = digits.judge(rows, recipe)
        assert all(Finding(claim, verdict[claim.name]).passed for claim in digits.claims)


def test_an_encoder_that_moves_as_far_when_it_is_wider_fails() -> None:
    study = contrastive.Contrastive()
    rows = [
        {
            "width": width,
            "recipe": recipe,
            "trained": trained,
            **dict.fromkeys(("first_loss", "gradient"), 0.1),
            "loss": contrastive.BOUND * (1 if trained == "both" else 2),
            "movement": 1.0,
            "retrieval": 1.0,
        }
        for width in contrastive.WIDTHS
        for recipe in ("none", "bf16")
        for trained in ("both", "one")
    ]
    measured = study.judge(rows)
    findings = [Finding(claim, measured[claim.name]) for claim in study.claims]
    assert [each.claim.name for each in findings if not each.passed] == ["movement"]
    assert pytest.approx(1.596, abs=5e-4) == contrastive.BOUND


class _Nearest(fully_quantized.FullyQuantized):
    """Its quantizers round to nearest: no longer unbiased."""

    def cells(self, effort: Effort) -> Sequence[Cell]:
        return [cell for cell in super().cells(effort) if cell.name.startswith("variance")]

    def quantizer(self) -> fully_quantized.Quantize:
        return lambda x, cast, _: quantize_range(x, cast)


def test_a_quantizer_that_is_biased_is_caught() -> None:
    rows = [row for cell in _Nearest().cells(Effort(1)) for row in cell.rows()]
    others: list[Row] = [{"layer": "psq", "gradient_bias": 1.0, "gradient_variance": 1.0}]
    recipes = [
        "fqt-ptq{gradients=fp32}",
        *(f"fqt-{q}{{bits={b}}}" for q in ("ptq", "psq", "bhq") for b in (4, 2)),
    ]
    scores = {"accuracy": 0.9, "training_loss": 0.1}
    others += [{"recipe": r, "bits": 2, **scores} for r in recipes]
    measured = _Nearest().judge([*rows, *others])
    failed = [c.name for c in _Nearest.claims if not Finding(c, measured[c.name]).passed]
    assert {"F2 most", "F4 ptq"} <= {*failed} and "F3 most" not in failed


def test_a_rule_that_loses_updates_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sixteen_bit.SETTINGS, "kahan", sixteen_bit.SETTINGS["nearest"])
    monkeypatch.setattr(sixteen_bit, "EPOCHS", 8)
    study = sixteen_bit.SixteenBit()
    cells = [cell for cell in study.cells(Effort(1, quick=True)) if "squares" not in cell.name]
    rows = [row for cell in cells for row in cell.rows()]
    rows += [{"squares": n, "distance": 1.0, "least_over_bound": 2.0} for n in sixteen_bit._SQUARES]
    measured = study.judge(rows)
    assert measured["B2 kahan"] == measured["B2 nearest"] == 0
    failed = {c.name for c in study.claims if not Finding(c, measured[c.name]).passed}
    assert {"B3 loss", "B1 forward", "B1 kahan"} <= failed and "B2 stochastic" not in failed


def test_a_network_that_learns_the_same_by_its_top_layer_fails_the_rich_regime() -> None:
    study = rich_regime.RichRegime()
    shares = [(64, 0.2), (256, 0.25), (512, 0.3)]
    rows: list[Row] = [
        *({"width": w, "layer": n, "share": s} for w, s in shares for n in (1, 2)),
        {"width": 256, "active": 0.05, "lazy": 0.0},
        {"full_operations": 10, "top_operations": 1, "full_seconds": 3.0, "top_seconds": 1.0},
        *(
            {
                "policy": policy,
                "recipe": "none",
                "seconds": 1.0,
                "training_loss": 0.1,
                "accuracy": 0.9,
            }
            for policy in rich_regime.POLICIES
        ),
    ]
    measured = study.judge(rows)
    findings = [Finding(claim, measured[claim.name]) for claim in study.claims]
    assert [each.claim.name for each in findings if not each.passed] == ["top"]
    assert measured["bottom"] == 0.6 and measured["wider"] == pytest.approx(0.1)
    assert measured["cheaper"] == pytest.approx(10 / (0.2 * 10 + 0.8 * 1))
    assert f"{3 / (0.6 + 0.8):.1f} times" in study.remarks(rows)[-1]


def test_a_narrow_format_fails_where_bf16_holds() -> None:
    assert "A3 bits" in _failed(narrow_range.Range(recipe="fp16"))


def test_rounding_that_truncates_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = narrow_range.quantize
    monkeypatch.setattr(narrow_range, "quantize", lambda x, _: exact(x, "bf16:rtz"))
    assert _failed(narrow_range.Range()) == {"bias rne"}


def test_a_target_is_verified() -> None:
    study = lrbench.LrBench(target=0.97)
    rows = [
        {"policy": "p", "recipe": "none", "seed": seed, **dict.fromkeys(lrbench._SHOWN, 0.5)}
        | {f"accuracy_{epoch}": 0.97 if epoch >= first else 0.5 for epoch in range(1, 21)}
        for seed, first in enumerate((3, 9))
    ]
    assert "p under none: reaches 0.97 after 9 epochs at most" in study.remarks(rows)
    missed = [{**row, **{f"accuracy_{e}": 0.5 for e in range(1, 21)}} for row in rows]
    assert "p under none: does not reach 0.97 in 20 epochs" in study.remarks(missed)


def test_options_are_checked_before_anything_is_trained() -> None:
    for study, error in (
        (lrbench.LrBench(recipe="bf17"), NameUnknown),
        (lrbench.LrBench(policies=("TRI{k0=1}",)), SpecError),
        (lrbench.LrBench(target=97.0), SpecError),
        (narrow_range.Range(narrow="fp17"), NameUnknown),
    ):
        with pytest.raises(error):
            study.cells(Effort(1))


def test_seeds_fix_everything() -> None:
    first, second = (
        [row for cell in narrow_range.Range().cells(Effort(1)) for row in cell.rows()]
        for _ in range(2)
    )
    assert first == second
    assert all(
        np.isfinite(float(v)) for row in first for v in row.values() if not isinstance(v, str)
    )
