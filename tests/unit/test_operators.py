"""The operator table against ONNX's schemas: every name exists, and roles fit the inputs."""

from __future__ import annotations

import onnx
import pytest

from onnxbf.operators import OPERATORS, Kind, Role, find_operator

_OF_ONNX_RUNTIME = {
    "FusedMatMul",
    "FusedGemm",
    "FusedConv",
    "MultiHeadAttention",
    "GroupQueryAttention",
    "QuickGelu",
    "FastGelu",
    "BiasGelu",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    *[
        "BatchNormInternal",
        "ConvGrad",
        "SigmoidGrad",
        "TanhGrad",
        "GeluGrad",
        "FastGeluGrad",
        "QuickGeluGrad",
        "LeakyReluGrad",
        "DivGrad",
        "BatchNormalizationGrad",
        "LayerNormalizationGrad",
        "InvertibleLayerNormalizationGrad",
        "SimplifiedLayerNormalizationGrad",
        "SoftmaxGrad_13",
        "LogSoftmaxGrad_13",
        "AveragePoolGrad",
        "MaxPoolGrad",
        "GatherGrad",
        "GatherElementsGrad",
        "GatherNDGrad",
        "SoftmaxCrossEntropyLossGrad",
        "ReluGrad",
        "DropoutGrad",
        "ResizeGrad",
        "SliceGrad",
        "SplitTraining",
        "ConcatTraining",
        "Scale",
    ],
}


@pytest.mark.parametrize("row", OPERATORS.values(), ids=lambda row: row.op_type)
def test_rows_fit_the_schema(row: object) -> None:
    operator = OPERATORS[row.op_type]  # type: ignore[attr-defined]
    if operator.op_type in _OF_ONNX_RUNTIME:
        assert not onnx.defs.has(operator.op_type)
        return
    schema = onnx.defs.get_schema(operator.op_type)
    for index, declared in enumerate(schema.inputs):
        touched = operator.input_role(index) is not None or operator.carries_input(index)
        types = schema_types(schema, declared.type_str)
        assert not touched or "tensor(float)" in types or "seq(tensor(float))" in types


def schema_types(schema: onnx.defs.OpSchema, name: str) -> set[str]:
    for constraint in schema.type_constraints:
        if constraint.type_param_str == name:
            return {*constraint.allowed_type_strs}
    return {name}


def test_roles() -> None:
    conv, lstm, concat = OPERATORS["Conv"], OPERATORS["LSTM"], OPERATORS["Concat"]
    assert [conv.input_role(i) for i in range(4)] == [Role.INPUT, Role.WEIGHT, Role.BIAS, None]
    assert lstm.input_role(4) is None and lstm.output_role(2) is Role.OUTPUT
    assert OPERATORS["Conv"].output_role(1) is None
    assert concat.kind is Kind.MOVEMENT and concat.carries_input(7)
    assert concat.input_role(0) is None


def test_operators_of_other_domains_are_unknown() -> None:
    assert find_operator("", "MatMul") is OPERATORS["MatMul"]
    assert find_operator("com.microsoft", "FusedMatMul") is not None
    assert find_operator("vendor", "MatMul") is None
