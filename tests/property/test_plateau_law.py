"""Change on plateau against LRBench's own way of it: a machine with a state, epoch by epoch."""

from __future__ import annotations

import itertools
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from onnxbf.training.lrbench import Fix
from onnxbf.training.plateau import OnPlateau


class _Machine:
    """ChangeLROnPlateau as LRBench describes it: index, cooldown and the last scores are kept."""

    def __init__(self, rule: OnPlateau, epochs: int) -> None:
        self.rule, self.epochs = rule, epochs
        self.index, self.wait, self.seen = rule.start, 0, 0
        self.last: deque[float] = deque(maxlen=rule.window)

    def epoch_ends(self, score: float) -> int:
        self.seen += 1
        self.last.append(score)
        if self.wait:
            self.wait -= 1
        elif self.seen > self.rule.window and self._stuck():
            self.wait = self.rule.cooldown
            early = self.seen / self.epochs < 0.8
            self.index += -1 if early else 1
            self.index = sorted((0, self.index, len(self.rule.schedules) - 1))[1]
        return self.index

    def _stuck(self) -> bool:
        scores = list(self.last)
        if self.rule.better == "lower":  # a fall is a rise, read from the end
            scores.reverse()
        return max(b - a for a, b in itertools.pairwise(scores)) < self.rule.threshold


_SCORE = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 2)


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(_SCORE, max_size=30),
    start=st.integers(0, 3),
    window=st.integers(2, 6),
    cooldown=st.integers(0, 4),
    threshold=st.sampled_from([0.05, 0.25, 1.0]),
    better=st.sampled_from(["lower", "higher"]),
)
def test_the_schedule_is_that_of_the_machine(
    scores: list[float], start: int, window: int, cooldown: int, threshold: float, better: str
) -> None:
    rule = OnPlateau(
        schedules=tuple(Fix(k0=rate) for rate in (8, 4, 2, 1)),
        start=start,
        window=window,
        cooldown=cooldown,
        threshold=threshold,
        better=better,
    )
    machine = _Machine(rule, 30)
    history: list[dict[str, float]] = []
    for score in scores:
        history.append({"loss": score})
        assert rule.after(history, 30) == rule.schedules[machine.epoch_ends(score)]
