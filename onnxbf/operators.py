"""What rewriting has to know about each operator: its class, and what each input is to it.

One row an operator. ``inputs`` has a letter per input: ``i`` data, ``w`` weight, ``b`` bias, norm
parameter or statistic, ``-`` not touched (shapes, indices, masks); the last letter before ``*``
repeats. A data input that is a constant counts as a weight. ``outputs`` says the same of outputs,
with ``o`` for those that are rounded.

The class ``movement`` holds operators whose results are values of their inputs, unchanged: rounding
around them says nothing about hardware. ``selection`` holds those of them that compare values: what
they choose, and so where the gradient goes, depends on how the values were rounded before.
``carries`` marks the inputs whose values are results with ``c``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from onnxbf.spec import TextEnum

STANDARD_DOMAINS = ("", "ai.onnx", "com.microsoft")
_OWN_DOMAIN = "ai.onnxbf"  # its gradients have the names and inputs of ONNX Runtime's
_DOMAINS = frozenset({*STANDARD_DOMAINS, _OWN_DOMAIN})


class Kind(TextEnum):
    """Classes of operators; recipes name them like operator types."""

    GEMM = "gemm"
    ELEMENTWISE = "elementwise"
    NORMALIZATION = "normalization"
    REDUCTION = "reduction"
    LOSS = "loss"
    SELECTION = "selection"
    MOVEMENT = "movement"


class Role(TextEnum):
    """What a tensor is to the node that reads or writes it."""

    INPUT = "inputs"
    WEIGHT = "weights"
    BIAS = "bias"
    OUTPUT = "outputs"
    GRADIENT = "gradients"
    WEIGHT_GRADIENT = "weight_gradients"


_ROLES = {"i": Role.INPUT, "w": Role.WEIGHT, "b": Role.BIAS, "o": Role.OUTPUT}


@dataclass(frozen=True, slots=True)
class Operator:
    """One row of the table."""

    op_type: str
    kind: Kind
    inputs: str = "i"
    outputs: str = "o"
    carries: str = ""

    def input_role(self, index: int) -> Role | None:
        return _ROLES.get(_letter(self.inputs, index))

    def output_role(self, index: int) -> Role | None:
        return _ROLES.get(_letter(self.outputs, index))

    def carries_input(self, index: int) -> bool:
        return _letter(self.carries, index) == "c"

    @property
    def moves(self) -> bool:
        """Whether every result is a value of an input."""
        return self.kind in (Kind.SELECTION, Kind.MOVEMENT)


@functools.cache
def _letter(pattern: str, index: int) -> str:
    if pattern.endswith("*"):
        return pattern[min(index, len(pattern) - 2)]
    return pattern[index] if index < len(pattern) else "-"


def _rows(kind: Kind, text: str) -> dict[str, Operator]:
    rows = (line.split() for line in text.strip().splitlines())
    return {row[0]: Operator(row[0], kind, *row[1:]) for row in rows}


def _plain(kind: Kind, inputs: str, names: str) -> dict[str, Operator]:
    return {name: Operator(name, kind, inputs) for name in names.split()}


def _movement(text: str) -> dict[str, Operator]:
    rows = (line.split() for line in text.strip().splitlines())
    return {name: Operator(name, Kind.MOVEMENT, "-", "-", carries) for name, carries in rows}


OPERATORS: dict[str, Operator] = {
    **_rows(
        Kind.GEMM,
        """
        MatMul ii
        Gemm iib
        Conv iwb
        ConvTranspose iwb
        DeformConv iw-b-
        LSTM iwwb-iiw o*
        GRU iwwb-i o*
        RNN iwwb-i o*
        Einsum i*
        Attention iii-ii o-oo
        FusedMatMul ii
        FusedGemm iib
        FusedConv iwbi
        MultiHeadAttention iiib
        GroupQueryAttention iiiii
        ConvGrad iiw oo-
        """,
    ),
    **_plain(
        Kind.ELEMENTWISE,
        "i*",
        "Add Sub Mul Div Pow Mean Sum Mod PRelu QuickGelu FastGelu Gelu",
    ),
    **_plain(
        Kind.ELEMENTWISE,
        "i",
        """Sqrt Exp Log Erf Reciprocal Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh
        Sigmoid Softplus Softsign Elu Selu Celu LeakyRelu HardSigmoid HardSwish Mish Swish Shrink
        Col2Im AffineGrid""",
    ),
    **_rows(
        Kind.ELEMENTWISE,
        """
        Resize i o c
        Upsample i o c
        Scale i-
        """,
    ),
    **_plain(
        Kind.ELEMENTWISE,
        "ii",
        """SigmoidGrad TanhGrad GeluGrad FastGeluGrad QuickGeluGrad LeakyReluGrad""",
    ),
    **_rows(Kind.ELEMENTWISE, "DivGrad iii oo"),
    **_plain(Kind.ELEMENTWISE, "i", "DropoutGrad ResizeGrad"),
    **_plain(Kind.ELEMENTWISE, "ib", "BiasGelu"),
    **_plain(Kind.ELEMENTWISE, "ii", "GridSample"),
    **_plain(Kind.ELEMENTWISE, "ii-", "RoiAlign"),
    **_plain(
        Kind.NORMALIZATION,
        "ibbbb",
        """BatchNormalization BatchNormInternal LayerNormalization InstanceNormalization
        GroupNormalization RMSNormalization SimplifiedLayerNormalization LpNormalization
        MeanVarianceNormalization LRN""",
    ),
    **_plain(Kind.NORMALIZATION, "iibbb", "SkipLayerNormalization"),
    **_plain(Kind.NORMALIZATION, "iibb", "SkipSimplifiedLayerNormalization"),
    **_plain(
        Kind.REDUCTION,
        "i",
        """ReduceSum ReduceMean ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
        ReduceSumSquare Softmax LogSoftmax CumSum AveragePool GlobalAveragePool LpPool
        GlobalLpPool Det""",
    ),
    **_rows(
        Kind.NORMALIZATION,
        """
        BatchNormalizationGrad iibbb
        LayerNormalizationGrad iibbb
        InvertibleLayerNormalizationGrad iibbb
        SimplifiedLayerNormalizationGrad iibb
        """,
    ),
    **_rows(
        Kind.REDUCTION,
        """
        SoftmaxGrad_13 ii
        LogSoftmaxGrad_13 ii
        AveragePoolGrad i
        MaxPoolGrad i- o c
        GatherGrad --i
        GatherElementsGrad --i
        GatherNDGrad --i
        """,
    ),
    **_plain(Kind.LOSS, "i-i", "SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss"),
    **_plain(Kind.LOSS, "ii-i", "SoftmaxCrossEntropyLossGrad"),
    **_rows(
        Kind.SELECTION,
        """
        Relu i - c
        ThresholdedRelu i - c
        Abs i - c
        Max i* - c*
        Min i* - c*
        Clip iii - ccc
        MaxPool i - c
        GlobalMaxPool i - c
        MaxRoiPool i - c
        ReduceMax i - c
        ReduceMin i - c
        TopK i - c
        """,
    ),
    **_movement(
        """
        Identity c
        Reshape c
        Transpose c
        Squeeze c
        Unsqueeze c
        Flatten c
        Expand c
        Tile c
        Slice c
        Gather c
        GatherElements c
        GatherND c
        Concat c*
        Split c
        Pad c-c
        DepthToSpace c
        SpaceToDepth c
        ReverseSequence c
        Compress c
        Trilu c
        Unique c
        CenterCropPad c
        MaxUnpool c
        Neg c
        Where -cc
        Dropout c
        Scatter c-c
        ScatterElements c-c
        ScatterND c-c
        OneHot --c
        ReluGrad c-
        SliceGrad c
        SplitTraining c
        ConcatTraining c*
        """
    ),
}


def find_operator(domain: str, op_type: str) -> Operator | None:
    """The row of an operator of ONNX, ONNX Runtime or ``ai.onnxbf``; None for any other."""
    return OPERATORS.get(op_type) if domain in _DOMAINS else None
