"""Which optimizers ONNX Runtime's training API has; what they compute is tests/integration's."""

from __future__ import annotations

import onnx
import pytest

from onnxbf.errors import NameUnknown, SpecError, UnsupportedError
from onnxbf.protos import to_proto
from onnxbf.training.optimizers import AdamW
from onnxbf.training.ort_optimizer import make_ort_optimizer


def _nodes(text: str) -> dict[str, dict[str, float]]:
    proto = to_proto(make_ort_optimizer(text))
    return {
        node.op_type: {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        for node in proto.graph.node
    }


def test_options_become_attributes() -> None:
    made = _nodes("adamw{beta1=0.5,beta2=0.75,eps=0.125,weight_decay=0.25}")
    assert made == {
        "AdamWOptimizer": {
            "alpha": 0.5,
            "beta": 0.75,
            "epsilon": 0.125,
            "weight_decay": 0.25,
            "correct_bias": 1,
            "adam_mode": 0,
        }
    }
    assert _nodes("adam")["AdamWOptimizer"]["weight_decay"] == 0
    assert _nodes("sgd{clip_norm=2}") == {
        "InplaceClipGradNorm": {"max_norm": 2.0},
        "SGDOptimizerV2": {},
    }


def test_an_optimizer_is_as_good_as_its_text() -> None:
    made, parsed = make_ort_optimizer(AdamW(eps=0.5)), make_ort_optimizer("adamw{eps=0.5}")
    assert to_proto(made) == to_proto(parsed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sgd{momentum=0.9}", "'momentum'"),
        ("momentum", "'momentum'"),
        ("nesterov", "'momentum'"),
        ("sgd{weight_decay=0.1}", "'weight_decay'"),
        ("adam{weight_decay=0.1}", "added to the gradient"),
        ("adamw{decoupled=false}", "added to the gradient"),
        ("adamw{decay_exclude=bias}", "decay of some parameters only"),
        ("adamw{decay_min_rank=2}", "decay of some parameters only"),
        ("adamw{clip_value=1}", "'clip_value'"),
        ("lamb", "'Lamb'"),
        ("lion", "'Lion'"),
        ("adagrad", "'Adagrad'"),
        ("rmsprop", "'RmsProp'"),
    ],
)
def test_others_are_refused_and_those_that_work_named(text: str, told: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        make_ort_optimizer(text)
    assert told in str(error.value)
    assert "These work: sgd and" in str(error.value)


def test_unknown_text_is_refused_as_everywhere() -> None:
    with pytest.raises(NameUnknown, match="did you mean 'adamw'"):
        make_ort_optimizer("adamww")
    with pytest.raises(SpecError):
        make_ort_optimizer("adamw{eps=small}")
