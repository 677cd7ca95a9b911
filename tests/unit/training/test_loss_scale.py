"""Loss scales: when they shrink, grow and skip, and how they are written."""

import math

import pytest

from onnxbf.errors import NameUnknown, SpecError
from onnxbf.training.loss_scale import LossScale, parse_loss_scale


def test_a_dynamic_scale_halves_on_overflow_and_doubles_after_enough_steps() -> None:
    scale = parse_loss_scale("dynamic{init=1024,growth_interval=3}")
    scale = scale.after(math.inf)
    assert (scale.scale, scale.skipped, scale.good_steps) == (512, 1, 0)
    for expected in (512, 512, 1024, 1024):
        scale = scale.after(1.0)
        assert scale.scale == expected
    assert scale.after(math.nan).scale == 512


def test_a_fixed_scale_only_counts() -> None:
    scale = parse_loss_scale("4096").after(math.nan).after(1.0)
    assert scale == LossScale(4096, good_steps=1, skipped=1)


def test_a_dynamic_scale_stays_positive_and_finite() -> None:
    low = high = LossScale(1, dynamic=True, growth_interval=1)
    for _ in range(500):
        low, high = low.after(math.inf), high.after(1.0)
    assert low.scale == 2.0**-24
    assert high.scale == 2.0**64


@pytest.mark.parametrize("init", [2.0**-24, 2.0**64])
def test_a_dynamic_scale_begins_anywhere_in_its_range_and_only_halves_or_doubles(
    init: float,
) -> None:
    scale = parse_loss_scale(f"dynamic{{init={init!r},growth_interval=1}}")
    for norm in (1.0, math.inf) * 2:
        following = scale.after(norm)
        assert following.scale / scale.scale in (0.5, 1, 2)
        scale = following


@pytest.mark.parametrize(
    "text",
    [
        *("3", "0", "-2", "inf", "nan", "dynamic{init=3}", "fast"),
        *(repr(2.0**power) for power in (-25, 65, 200)),
        f"dynamic{{init={2.0**65!r}}}",
    ],
)
def test_only_powers_of_two_are_scales(text: str) -> None:
    with pytest.raises(SpecError, match="power of two"):
        parse_loss_scale(text)


def test_unknown_options_and_intervals_are_named() -> None:
    with pytest.raises(NameUnknown, match="no option 'growth': known: growth_interval, init"):
        parse_loss_scale("dynamic{growth=2}")
    with pytest.raises(SpecError, match="growth_interval"):
        parse_loss_scale("dynamic{growth_interval=0}")
