"""Programs of elementwise operations: the kernels against NumPy, alone and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxbf.custom_ops import probes
from onnxbf.custom_ops.elementwise import OPERANDS, Program, parse_program
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import ModelError, UnsupportedError
from onnxbf.session import make_session, run
from tests.other_sets import complete_sets
from tests.small_models import model, value

Floats = NDArray[np.float32]
SETS = [kernels(name) for name in complete_sets()]
ADAM = (
    "Mul y0 x0 s0; Mul t0 y0 y0; Sub t1 y0 x1; Mul t1 t1 s1; Add y1 x1 t1; Sub t0 t0 x2; "
    "Mul t0 t0 s2; Add y2 x2 t0; Sqrt t0 y2; Add t0 t0 s3; Div t0 y1 t0; Mul t0 t0 x3"
    "; Sub y3 x2 t0"
)
CASTS = ["bf16:rne", "e4m3fn:rtz{overflow=saturate}", "e5m2:rup{subnormals=flush}"]
WRONG = {
    "": "has no output",
    ";": "has a step '', which is unknown",
    "Exp y0 x0": "has a step 'Exp', which is unknown",
    "Add y0 x0": "has 1 operands, but Add takes 2",
    "Sqrt y0 x0 x1": "has 2 operands, but Sqrt takes 1",
    "bf16:rne y0 x0 x1": "has 2 operands, but bf16:rne takes 1",
    "bf16:sr y0 x0": "stochastic rounding is not offered here",
    "bf17:rne y0 x0": "bf17",
    "Neg y0 t0": "reads 't0' before it is written",
    "Neg t0 x0; Neg y0 y0": "reads 'y0' before it is written",
    "Neg t0 x0": "has no output",
    "Neg y1 x0": "leaves out an output",
    "Neg y0 x0; Neg y0 x0": "writes 'y0', which is no temporary and no output yet to be written",
    "Neg x1 x0": "writes 'x1', which is no temporary",
    "Neg t16 x0; Neg y0 t16": "has more than 16 temporaries",
    "Neg y0 z0": "names 'z0', which is no x, s, t or y with a number",
    "Neg y0 x-1": "names 'x-1'",
    "Neg y0 x99999999999": "names 'x99999999999'",
}


def _same(got: Floats, wanted: Floats) -> None:
    """Bit by bit; NaN is NaN."""
    nan = np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(got[~nan].view(np.uint32), wanted[~nan].view(np.uint32))


def _draw(rng: np.random.Generator, count: int, size: int) -> list[Floats]:
    """Arrays of numbers of many magnitudes, special ones among them."""
    others = np.concatenate([rng.normal(size=500), rng.normal(size=50) * 1e-40])
    pool = np.concatenate([probes.specials(), others.astype(np.float32)])
    return [rng.choice(pool, size) for _ in range(count)]


@st.composite
def _programs(draw: st.DrawFn) -> Program:
    places, steps = ["x0", "x1", "x2", "s0"], []
    for index in range(draw(st.integers(1, 12))):
        name = draw(st.sampled_from([*sorted(OPERANDS), *CASTS]))
        operands = [draw(st.sampled_from(places)) for _ in range(OPERANDS.get(name, 1))]
        result = f"{draw(st.sampled_from(['t', 'y']))}{index}"
        steps.append([name, result, *operands])
        places.append(result)
    steps.append(["Add", "y99", "x0", "s0"])
    outputs = [step[1] for step in steps if step[1][0] == "y"]
    numbered = {name: f"y{place}" for place, name in enumerate(outputs)}
    text = "; ".join(" ".join(numbered.get(word, word) for word in step) for step in steps)
    return parse_program(text + "; Mul t0 x1 x2")


@settings(max_examples=60, deadline=None)
@given(
    program=_programs(),
    shape=st.sampled_from([(0,), (1,), (7,), (256,), (257,), (10, 7), (3, 300), (2, 1, 513)]),
    row=st.integers(0, 2),
)
def test_every_instruction_set_runs_programs_as_numpy_does(
    program: Program, shape: tuple[int, ...], row: int
) -> None:
    """One input is as long as the others, a row that repeats, or a number."""
    rng = np.random.default_rng(len(shape))
    inputs = [array.reshape(shape) for array in _draw(rng, 2, int(np.prod(shape)))]
    last = shape[len(shape) - min(row, len(shape)) :]
    inputs.append(_draw(rng, 1, int(np.prod(last)))[0].reshape(last))
    shared = _draw(rng, 1, 1)
    wanted = program.run(inputs, shared)
    for each in SETS:
        for got, expected in zip(each.elementwise(program, inputs, shared), wanted, strict=True):
            _same(got, expected)


_INPUTS, _SHARED = (_draw(np.random.default_rng(1), 4, size) for size in (999, 1))
_WANTED = parse_program(ADAM).run(_INPUTS, _SHARED)  # before anything changes how NumPy computes


@pytest.mark.usefixtures("control_register")
def test_the_control_register_changes_nothing() -> None:
    for each in SETS:
        got = each.elementwise(parse_program(ADAM), _INPUTS, _SHARED)
        for array, wanted in zip(got, _WANTED, strict=True):
            _same(array, wanted)


def _node(program: str, inputs: list[Floats], outputs: int) -> tuple[Any, dict[str, Floats]]:
    names, results = [f"i{k}" for k in range(len(inputs))], [f"o{k}" for k in range(outputs)]
    node = helper.make_node("Elementwise", names, results, "it", domain=DOMAIN, program=program)
    given = [value(name, shape=array.shape) for name, array in zip(names, inputs, strict=True)]
    return model([node], given, [value(name) for name in results]), dict(zip(names, inputs))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_groups_in_onnx_runtime(threads: int) -> None:
    """Of several shapes, an empty one among them; cut into slices in their midst; own scalars."""
    rng = np.random.default_rng(0)
    inputs: list[Floats] = []
    for shape in ((5,), (300, 257), (0, 3), (1,), (2, 40000)):
        inputs += [array.reshape(shape) for array in _draw(rng, 3, int(np.prod(shape)))]
        inputs.append(np.asarray(rng.normal(), np.float32))
    inputs += [array.reshape(()) for array in _draw(rng, 4, 1)]
    proto, feeds = _node(ADAM, inputs, 20)
    got = run(make_session(proto.SerializeToString(), threads=threads), feeds)
    for name, wanted in zip(got, Evaluator(proto).run(None, feeds), strict=True):
        assert got[name].shape == wanted.shape
        _same(got[name], wanted)


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize(
    "program", ["Add t0 x0 x1; bf16:rne t0 t0; Relu y0 t0", "Neg y0 x0; Add y1 x0 x1"]
)
def test_the_first_output_takes_the_place_of_the_first_input(program: str, observed: bool) -> None:
    """Where ONNX Runtime lets it: what comes before is read by nothing else."""
    rng = np.random.default_rng(0)
    x, row = (
        rng.normal(size=(70, 1000)).astype(np.float32),
        rng.normal(size=1000).astype(np.float32),
    )
    outputs = ["y", "z"][: program.count("y")]
    told = ["health"] if observed else []
    op_type = "ElementwiseObserved" if observed else "Elementwise"
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node(op_type, ["b", "row"], [*told, *outputs], domain=DOMAIN, program=program),
        helper.make_node("Identity", ["y"], ["result"]),
    ]
    given = [value("x", shape=x.shape), value("row", shape=row.shape)]
    proto = model(nodes, given, [value("result"), *map(value, outputs[1:])])
    got = run(make_session(proto.SerializeToString(), threads=1), {"x": x, "row": row})
    b = np.exp(np.abs(x))
    wanted = parse_program(program).run([b, row], [])
    for name, expected in zip(got, wanted, strict=True):
        np.testing.assert_allclose(got[name], expected, rtol=2**-7)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_roundings_tell_in_onnx_runtime(threads: int) -> None:
    """Of several groups, an empty one among them; of a result, an input and a number."""
    program = "Mul t0 x0 s0; bf16:rne t0 t0; Add y0 t0 x1; e4m3fn:rtz{overflow=saturate} y1 x0"
    program += "; e5m2:rup{subnormals=flush} t1 s0; Mul y2 t1 y1"
    rng = np.random.default_rng(0)
    inputs: list[Floats] = []
    for shape in ((5,), (300, 257), (0, 3), (1024,), (2, 40000)):
        inputs += [array.reshape(shape) for array in _draw(rng, 2, int(np.prod(shape)))]
    inputs.append(np.asarray(0.3, np.float32))
    proto, feeds = _node(program, inputs, 15)
    (node,) = proto.graph.node
    node.op_type = "ElementwiseObserved"
    node.output.insert(0, "health")
    proto.graph.output.insert(0, value("health", TensorProto.DOUBLE))
    got = run(make_session(proto.SerializeToString(), threads=threads), feeds)
    health, *tensors = Evaluator(proto).run(None, feeds)
    np.testing.assert_array_equal(got.pop("health"), health)
    assert health.reshape(5, 3, 7)[:, 0, 0].tolist() == [5, 77100, 0, 1024, 80000]
    for name, wanted in zip(got, tensors, strict=True):
        _same(got[name], wanted)


@pytest.mark.parametrize("text", WRONG)
def test_wrong_programs_are_refused(text: str) -> None:
    proto, _ = _node(text, [np.ones(2, np.float32)], 1)
    with pytest.raises(ModelError) as error:
        make_session(proto.SerializeToString())
    assert "Elementwise node 'it': attribute 'program': " in str(error.value)
    assert WRONG[text] in str(error.value)


@pytest.mark.parametrize("text", ["", ";", "Exp y0 x0", "Add y0 x0", "Neg y0 t0", "Neg"])
def test_numpy_refuses_what_is_no_program(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no step|before it is written"):
        parse_program(text)
    proto, feeds = _node(text, [np.ones(2, np.float32)], 1)
    with pytest.raises(ModelError, match="Elementwise node 'it': attribute 'program'"):
        Evaluator(proto).run(None, feeds)


def test_kernels_refuse_what_numpy_can_run() -> None:
    many = "; ".join(f"Neg t{index} x0" for index in range(17))
    with pytest.raises(UnsupportedError, match="more than 16 temporaries"):
        SETS[0].elementwise(parse_program(f"{many}; Neg y0 x0"), [np.ones(2, np.float32)])


@pytest.mark.parametrize(
    ("shapes", "complaint"),
    [
        ([(2,), (3,)], "input 1 has neither the shape of input 0, the first of its group"),
        (
            [(2,), (2,), (2,)],
            "its 3 inputs are not a multiple of the 2 tensors of its program, and 0",
        ),
    ],
)
def test_inputs_that_do_not_fit(shapes: list[tuple[int, ...]], complaint: str) -> None:
    proto, feeds = _node("Add y0 x0 x1", [np.ones(shape, np.float32) for shape in shapes], 1)
    with pytest.raises(ModelError, match=complaint):
        run(make_session(proto.SerializeToString()), feeds)
