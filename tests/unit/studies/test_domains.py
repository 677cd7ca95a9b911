"""Networks and data of study bf16."""

from __future__ import annotations

from collections.abc import Callable, Set

import numpy as np
import onnx
import onnx_ir as ir
import pytest

pytest.importorskip("onnxruntime")

from onnxbf.protos import to_proto
from onnxbf.studies import domains_image, domains_recommender
from onnxbf.studies.bf16 import Bf16
from onnxbf.studies.task import LABELS

# What makes a network one of its kind.
KINDS: dict[Callable[[int], ir.Model], Set[str]] = {
    domains_image.residual: {"Conv", "BatchNormalization", "Add", "GlobalAveragePool"},
    domains_image.alexnet: {"Conv", "MaxPool", "Dropout", "Gemm"},
    domains_recommender.deep_and_cross: {"Gather", "Mul", "Gemm", "Concat"},
    domains_recommender.deep: {"Gather", "Gemm", "Concat"},
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_networks_are_valid_and_of_their_kind(make: Callable[[int], ir.Model]) -> None:
    proto = to_proto(make(0))
    onnx.checker.check_model(proto, full_check=True)
    assert KINDS[make] <= {node.op_type for node in proto.graph.node}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_seed_draws_the_weights(make: Callable[[int], ir.Model]) -> None:
    first, again, other = (to_proto(make(seed)).SerializeToString() for seed in (0, 0, 1))
    assert first == again != other


def test_clicks_follow_their_law() -> None:
    task = domains_recommender.clicks()
    fields, clicked = task.training["fields"], task.training[LABELS][:, 0]
    assert fields.shape == (40_000, 6) and fields.min() >= 0 and fields.max() < 300
    assert ((fields // 50) == np.arange(6)).all()
    assert 0.3 < clicked.mean() < 0.6
    often, rare = (np.mean(fields[:, 0] == value) for value in (0, 49))
    assert 30 < often / rare < 80  # Zipf: 50
    rates = [clicked[fields[:, 1] == 50 + value].mean() for value in range(5)]
    assert np.ptp(rates) > 0.1


def test_claims_are_those_of_the_networks() -> None:
    study = Bf16()
    names = [claim.name for claim in study.claims]
    assert len({*names}) == len(names) >= 2 * len(study.subjects)
    assert all(subject.floors for subject in study.subjects)
