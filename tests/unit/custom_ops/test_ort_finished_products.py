"""Products that finish their results: the bits of a product, and of a program after it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from onnxbf.arithmetic import PROFILES
from onnxbf.custom_ops.library import instruction_sets
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.errors import ModelError
from onnxbf.session import make_session, run
from tests import operands
from tests.implementations import Floats, same_bits
from tests.other_sets import printed_under
from tests.small_models import check_in_both, model, ours, value
from tests.stand_in import stand_ins

Shape = tuple[int, ...]
FLUSHED = "bf16:rne{subnormals=flush}"
# What a layer adds and does, by the shapes of what it reads: of a result of 2 x 70 x 90.
PROGRAMS: dict[str, tuple[str, list[Shape]]] = {
    "bias": (f"Add t0 x0 x1; {FLUSHED} t0 t0; Relu y0 t0", [(90,)]),
    "residual": (
        "Add t0 x0 x2; bf16:rne t0 t0; Add t0 x1 t0; fp16:rna y0 t0",
        [(2, 70, 90), (90,)],
    ),
    "mask": ("ReluGrad y0 x0 x1", [(2, 70, 90)]),
    "positions": ("e4m3fn:rtz{overflow=saturate} t0 x1; Sub y0 t0 x0", [(70, 90)]),
    "numbers": ("bf16:rup t0 x1; Mul t0 x0 t0; Add t1 t0 x2; Div y0 t1 x0", [(), (1,)]),
    "alone": ("Neg t0 x0; Abs t1 x0; Add y0 t0 t1", []),
    "many": (
        "Add t0 x1 x2; Add t1 x3 x4; Add t2 x5 x6; Mul t0 t0 t1; Mul t0 t0 t2; Add t0 t0 x7"
        "; Add y0 t0 x0",
        [(90,)] * 7,
    ),
}
SMALL = "sequential"  # a profile by which small products take a way of their own


def _proto(
    op_type: str, feeds: dict[str, Floats], program: str, apart: bool = False, **attributes: Any
) -> Any:
    """One node, or with ``apart`` a product and a program."""
    attributes = {"arithmetic": "avx512_bf16", **attributes}
    others = [name for name in feeds if name not in ("a", "b")]
    if apart:
        nodes = [
            ours("FusedMatMul", ["a", "b"], "p", **attributes),
            ours("Elementwise", ["p", *others], "y", program=program),
        ]
    else:
        nodes = [ours(op_type, ["a", "b", *others], "y", program=program, **attributes)]
    given = [value(name, shape=array.shape) for name, array in feeds.items()]
    return model(nodes, given, [value("y")])


def _feeds(shapes: list[Shape], others: list[Shape], draw: Any = operands.ordinary) -> Any:
    rng = np.random.default_rng(len(others))
    names = ["a", "b", *(f"o{index}" for index in range(len(others)))]
    return {name: draw(rng, shape) for name, shape in zip(names, [*shapes, *others], strict=True)}


def _one(feeds: dict[str, Floats], program: str, threads: int = 1, **options: Any) -> Floats:
    proto = _proto("MatMulElementwise", feeds, program, **options)
    return run(make_session(proto.SerializeToString(), threads=threads), feeds)["y"]


@pytest.mark.parametrize("text", [*PROFILES, "sequential{format=fp16}", "chunked{size=2}"])
def test_every_profile(text: str) -> None:
    program = f"Add t0 x0 x1; {FLUSHED} t0 t0; Relu t0 t0; Add y0 t0 x2"
    feeds = _feeds([(2, 3, 9), (9, 4)], [(4,), (2, 3, 4)])
    check_in_both(_proto("MatMulElementwise", feeds, program, arithmetic=text), feeds)


@pytest.mark.parametrize(
    ("a", "b", "others"),
    [
        ((5,), (5,), [(), (1,)]),
        ((5,), (5, 2), [(2,)]),
        ((3, 5), (5,), [(3,)]),
        ((2, 3, 5), (5,), [(2, 3)]),
        ((2, 1, 3, 4), (3, 4, 2), [(3, 3, 2)]),
        ((3, 0), (0, 2), [(3, 2)]),
        ((0, 3), (3, 2), [(2,)]),
        ((2, 3), (3, 0), [(0,)]),
        ((1, 3), (3, 1), [(1,)]),
    ],
)
def test_shapes(a: Shape, b: Shape, others: list[Shape]) -> None:
    program = " ; ".join(["Relu t0 x0", *(f"Add t0 t0 x{i + 1}" for i in range(len(others)))])
    feeds = _feeds([a, b], others)
    check_in_both(_proto("MatMulElementwise", feeds, f"{program}; Neg y0 t0"), feeds)


def test_factors_are_cast_turned_and_scaled() -> None:
    options: dict[str, Any] = {"transA": 1, "transB": 1, "alpha": 0.3, "cast_a": "e5m2:rne"}
    options |= {"cast_b": "e4m3fn:rne", "cast_y": "bf16:rtz"}
    feeds = _feeds([(2, 5, 3), (4, 5)], [(4,)])
    program = "Add t0 x0 x1; Relu y0 t0"
    check_in_both(_proto("MatMulElementwise", feeds, program, **options), feeds)
    feeds = _feeds([(2, 8, 3, 4), (2, 6, 3, 4)], [(3, 8, 6)])
    orders = {"perm_a": (0, 2, 1, 3), "perm_b": (0, 2, 3, 1)}
    check_in_both(_proto("MatMulElementwise", feeds, program, **orders), feeds)


def test_sums_that_are_rounded_stochastically_draw_as_those_of_a_product_do() -> None:
    random = {"arithmetic": "chunked{size=3,inner=bf16:sr,outer=fp16:sr}", "seed": 5, "node": 9}
    feeds = _feeds([(3, 9), (9, 4)], [(4,)])
    check_in_both(_proto("MatMulElementwise", feeds, "Add y0 x0 x1", **random), feeds)


@pytest.mark.parametrize("draw", operands.ALL, ids=lambda draw: str(draw.__name__))
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("arithmetic", ["avx512_bf16", SMALL, "sequential{format=bf16}"])
def test_the_bits_are_those_of_two_nodes(name: str, draw: Any, arithmetic: str) -> None:
    """Of any number of threads; sums, terms and results are of all kinds, NaNs among them."""
    program, others = PROGRAMS[name]
    feeds = _feeds([(2, 70, 40), (40, 90)], others, draw)
    options = {"arithmetic": arithmetic, "cast_y": FLUSHED if name == "mask" else ""}
    apart = _proto("", feeds, program, apart=True, **options)
    wanted = run(make_session(apart.SerializeToString(), threads=1), feeds)["y"]
    for threads in (1, 2, 3):
        assert same_bits(_one(feeds, program, threads, **options), wanted)


def digests() -> list[str]:
    found = []
    for program, others in PROGRAMS.values():
        for draw in (operands.ordinary, operands.special):
            y = _one(_feeds([(2, 70, 40), (40, 90)], others, draw), program)
            y = np.where(np.isnan(y), np.float32(np.nan), y)
            found.append(hashlib.sha256(y.tobytes()).hexdigest())
    return found


_PRINT = "from tests.unit.custom_ops.test_ort_finished_products import digests; print(*digests())"


@pytest.mark.parametrize("instruction_set", [*instruction_sets(), *stand_ins()])
def test_every_instruction_set_has_the_same_bits(instruction_set: str) -> None:
    assert printed_under(instruction_set, _PRINT) == digests()


@pytest.mark.parametrize("draw", [operands.ordinary, operands.special])
def test_batches_of_small_products(draw: Any) -> None:
    """Some of which hold NaNs, and are computed by what others are not."""
    feeds = _feeds([(9, 5, 12), (9, 12, 33)], [(9, 5, 33), (33,)], draw)
    program = "Add t0 x0 x2; ReluGrad y0 t0 x1"
    wanted = Evaluator(_proto("MatMulElementwise", feeds, program, arithmetic=SMALL)).run(
        None, feeds
    )
    for threads in (1, 3):
        assert same_bits(_one(feeds, program, threads, arithmetic=SMALL), wanted[0])


MUST = "attribute 'program' must read x0, and at most x7, no shared numbers, and write y0 alone"


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"program": "Exp y0 x0"}, "attribute 'program': the program has a step 'Exp'"),
        ({"program": "Add y0 x0 s0"}, MUST),
        ({"program": "Neg y0 x0; Neg y1 x1"}, MUST),
        ({"program": "Neg y0 x0; Neg t0 x0"}, MUST),
        ({"program": "Add y0 x0 x8"}, MUST),
        ({"program": "Neg y0 x0", "perm_y": (1, 0)}, "it has no attribute 'perm_y'"),
    ],
)
def test_wrong_attributes_are_refused(attributes: dict[str, Any], told: str) -> None:
    feeds = _feeds([(2, 3), (3, 4)], [(4,)])
    options = dict(attributes)
    proto = _proto("MatMulElementwise", feeds, options.pop("program"), **options)
    with pytest.raises(ModelError) as error:
        make_session(proto.SerializeToString())
    assert f"MatMulElementwise node 'make_y': {told}" in str(error.value)


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([], "it has 2 inputs, but two factors and a program take 3"),
        ([(4,), (4,)], "it has 4 inputs, but two factors and a program take 3"),
        ([(3,)], "x1 of shape 3 has neither the last dimensions of a result of shape 2x4, nor one"),
        ([(2, 1)], "x1 of shape 2x1 has neither"),
        ([(1, 2, 4)], "x1 of shape 1x2x4 has neither"),
    ],
)
def test_other_inputs_are_refused(others: list[Shape], told: str) -> None:
    feeds = _feeds([(2, 3), (3, 4)], others)
    proto = _proto("MatMulElementwise", feeds, "Add y0 x0 x1")
    with pytest.raises(ModelError) as error:
        run(make_session(proto.SerializeToString()), feeds)
    assert f"MatMulElementwise node 'make_y': {told}" in str(error.value)


def test_numpy_refuses_what_is_no_program() -> None:
    feeds = _feeds([(2, 3), (3, 4)], [])
    with pytest.raises(ModelError, match="MatMulElementwise node 'make_y': 'Exp y0 x0' is no step"):
        Evaluator(_proto("MatMulElementwise", feeds, "Exp y0 x0")).run(None, feeds)
