"""The error of arithmetic profiles by layer, judged by the scalar dot product and float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxbf.accuracy import Accuracy, measure_accuracy
from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.custom_ops.reference_products import product
from onnxbf.errors import ModelError, UnsupportedError
from onnxbf.formats import parse_cast
from onnxbf.rounding import round_array
from tests.implementations import Floats
from tests.small_models import model, node, value

BF16 = parse_cast("bf16")
SEQUENTIAL = parse_arithmetic("sequential")


def _floats(*shape: int) -> Floats:
    return np.random.default_rng(len(shape)).uniform(0, 1, shape).astype(np.float32)


X, W, V = _floats(3, 50), _floats(50, 20), _floats(4, 20)


def perceptron() -> onnx.ModelProto:
    return model(
        [
            node("MatMul", ["x", "w"], "hidden"),
            node("Relu", ["hidden"], "positive"),
            node("Gemm", ["positive", "v"], "y", transB=1),
        ],
        [value("x", shape=[3, 50])],
        [value("y", shape=[3, 4])],
        weights={"w": W, "v": V},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(perceptron(), tmp_path / "mlp.onnx")
    return tmp_path / "mlp.onnx"


def _measure(path: Path, *profiles: str, **options: object) -> Accuracy:
    chosen = [parse_arithmetic(text) for text in profiles]
    return measure_accuracy(path, chosen, inputs={"x": X}, **options)  # type: ignore[arg-type]


def _norm(exact: Floats, other: Floats) -> float:
    gap = exact.astype(np.float64) - other
    return float(np.linalg.norm(gap) / np.linalg.norm(exact.astype(np.float64)))


def test_each_layer_is_measured_alone(path: Path) -> None:
    """On what exact sums gave it; the outputs are those of a whole network."""
    found = _measure(path, "sequential", "exact", operands=BF16)
    x, w, v = (round_array(each, BF16) for each in (X, W, V.T))
    hidden = product(PROFILES["exact"], x, w)
    positive = round_array(hidden, BF16)
    exact = product(PROFILES["exact"], positive, v)
    np.testing.assert_allclose(exact, positive.astype(np.float64) @ v, rtol=2.0**-23)
    first = _norm(hidden, product(SEQUENTIAL, x, w))
    second = _norm(exact, product(SEQUENTIAL, positive, v))
    whole = product(SEQUENTIAL, round_array(product(SEQUENTIAL, x, w), BF16), v)
    name = str(SEQUENTIAL)
    errors = [layer.differences[name].norm_rel for layer in found.layers]
    assert errors == pytest.approx([first, second], rel=1e-12)
    assert found.outputs[0].differences[name].norm_rel == pytest.approx(_norm(exact, whole))
    assert all(layer.differences["exact"].max_abs == 0 for layer in found.layers + found.outputs)
    kinds = [(layer.op_type, layer.terms) for layer in found.layers]
    assert kinds == [("MatMul", 50), ("Gemm", 20)]


def test_operands_that_are_not_rounded_count_in_a_profile_that_rounds_them(path: Path) -> None:
    plain, rounded = (_measure(path, "avx512_bf16", operands=cast) for cast in (None, BF16))
    (before, _), (after, _) = plain.layers, rounded.layers
    assert before.differences["avx512_bf16"].norm_rel > 2.0**-13
    assert after.differences["avx512_bf16"].norm_rel < 2.0**-20
    assert (plain.operands, rounded.operands) == ("fp32", "bf16:rne")


def test_json_holds_every_measure(path: Path) -> None:
    found = _measure(path, "kahan", "sequential{format=e4m3}")
    data = json.loads(found.to_json())
    assert data["profiles"] == ["kahan", "sequential{format=e4m3,rounding=rne}"]
    layer = data["layers"][0]
    assert layer["terms"] == 50 and set(layer["errors"]) == set(data["profiles"])
    assert layer["errors"]["kahan"]["norm_rel"] < 1e-6
    assert data["outputs"][0]["op_type"] == "output"


def test_infinities_are_told(path: Path) -> None:
    profile = parse_arithmetic("sequential{format=e2m3}")
    big = {"x": X * 100}
    found = measure_accuracy(path, [profile], inputs=big)
    assert found.layers[0].differences[str(profile)].special_mismatches == 0  # it saturates
    profile = parse_arithmetic("sequential{format=e4m3}")
    found = measure_accuracy(path, [profile], inputs=big)
    assert found.layers[0].differences[str(profile)].special_mismatches > 0
    assert json.loads(found.to_json())["layers"][0]["errors"][str(profile)]["special_mismatches"]


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    proto = model([node("Relu", ["x"], "y")], [value("x", shape=[2])], [value("y", shape=[2])])
    onnx.save(proto, tmp_path / "relu.onnx")
    with pytest.raises(UnsupportedError, match=r"relu\.onnx has no node that can sum"):
        measure_accuracy(tmp_path / "relu.onnx", [SEQUENTIAL])
    with pytest.raises(ModelError, match="no such file"):
        measure_accuracy(tmp_path / "none.onnx", [SEQUENTIAL])


@pytest.mark.parametrize(
    ("op_type", "sizes", "group", "terms"),
    [("Conv", (4, 3, 2, 5), 1, 30), ("ConvTranspose", (6, 4, 2, 5), 2, 30)],
)
def test_convolutions_are_measured_too(
    op_type: str, sizes: tuple[int, ...], group: int, terms: int, tmp_path: Path
) -> None:
    channels, maps = sizes[op_type == "Conv"], sizes[op_type != "Conv"] * group
    proto = model(
        [node(op_type, ["x", "k"], "y", group=group)],
        [value("x", shape=[1, channels, 6, 9])],
        [value("y", shape=[1, maps, "height", "width"])],
        weights={"k": _floats(*sizes)},
    )
    onnx.save(proto, tmp_path / "conv.onnx")
    found = measure_accuracy(tmp_path / "conv.onnx", [SEQUENTIAL], operands=BF16)
    (layer,) = found.layers
    assert (layer.op_type, layer.terms) == (op_type, terms)
    assert 2.0**-12 < layer.differences[str(SEQUENTIAL)].norm_rel < 2.0**-5
