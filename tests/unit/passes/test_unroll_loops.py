"""Control flow written out, against ONNX Runtime running it as it stands."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.graph import REFUSAL_KEY
from onnxbf.passes.canonicalize import Canonicalize
from onnxbf.passes.lift_initializers import LiftInitializers
from onnxbf.passes.unroll_loops import CONTROL, UnrollLoops
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run

HEAD = '<ir_version: 10, opset_import: ["": 17]>\n'
X = np.random.default_rng(0).standard_normal((4, 3, 2)).astype(np.float32)

# A state, a weight of the body's own and one from around, and every step's value stacked.
STEPS = """net (float[4,3,2] x) => (float[3,2] y, float[n,3,2] every, int64 last)
    <int64 most = {4}, bool yes = {1}, int64 zero = {0}, float[2,2] w = {1,-1,2,0.5},
     float[3,2] s0 = {0,0,0,0,0,0}> {
        y, last, every = Loop (most, yes, s0, zero) <body = b
            (int64 i, bool going, float[3,2] s, int64 k) =>
            (bool on, float[3,2] t, int64 k1, float[3,2] out)
            <float[2] bias = {0.5,-0.5}, int64 one = {1}, int64 stop = {STOP}> {
                xi = Gather <axis = 0> (x, i)
                p = MatMul (s, w)
                q = Add (p, xi)
                t = Add (q, bias)
                out = Tanh (t)
                k1 = Add (k, one)
                on = Less (k1, stop)
            }>
    }"""
# Two scanned inputs, one backward and along another axis; an output backward, along the last axis.
SCANNED = """net (float[4,3,2] x) => (float[2] y, float[3,2] a, float[2,3] c)
    <float[2] s0 = {0,1}, int64[1] at = {0}> {
        end = Constant <value = int64[1] {1}> ()
        f = Slice (x, at, end, at)
        first = Squeeze (f, at)
        other = Transpose <perm = [1, 0]> (first)
        y, a, c = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1],
            scan_input_directions = [0, 1], scan_output_axes = [0, -1],
            scan_output_directions = [1, 0], body = b
            (float[2] s, float[2] u, float[2] v) => (float[2] t, float[2] ao, float[2] co) {
                m = Mul (s, u)
                t = Add (m, v)
                ao = Identity (t)
                co = Sub (u, v)
            }> (s0, first, other)
    }"""
BRANCH = """net (float[4,3,2] x) => (float[4,3,2] y)
    <int64 least = {3}, float[2] w = {2,3}> {
        size = Shape (x)
        at = Constant <value = int64 {0}> ()
        rows = Gather (size, at)
        many = Greater (rows, least)
        y = If (many) <
            then_branch = t () => (float[4,3,2] a) <float[2] v = {5,7}> { a = Mul (x, v) },
            else_branch = e () => (float[4,3,2] b) { b = Mul (x, w) }>
    }"""
# What the loop gives is an initializer, twice; and a condition inside counts the steps.
NESTED = """net (float[4,3,2] x) => (float[2] y, float[2] z, float[4,3,2] u)
    <int64 most = {3}, float[2] w = {2,3}, int64 one = {1}> {
        y, z, u = Loop (most, , w, w, x) <body = b
            (int64 i, bool going, float[2] p, float[2] q, float[4,3,2] s) =>
            (bool on, float[2] p1, float[2] q1, float[4,3,2] s1) {
                p1 = Identity (p)
                q1 = Identity (q)
                on = Identity (going)
                odd = Equal (i, one)
                s1 = If (odd) <
                    then_branch = t () => (float[4,3,2] a) { a = Mul (s, q) },
                    else_branch = e () => (float[4,3,2] b) { b = Add (s, p) }>
            }>
    }"""


def unrolled(text: str) -> tuple[onnx.ModelProto, ir.Model]:
    proto = onnx.parser.parse_model(HEAD + text)
    if "UNBOUNDED" in text:
        proto.graph.node[0].input[0] = ""
    model = from_proto(proto)
    for graph_pass in (ShapeInferencePass(), Canonicalize(Report("none"))):
        graph_pass(model)
    LiftInitializers(Report("none"))(model)
    UnrollLoops(Report("none"))(model)
    return proto, model


def check(text: str) -> ir.Model:
    proto, model = unrolled(text)
    assert not {node.op_type for node in model.graph} & CONTROL
    wanted = run(make_session(proto.SerializeToString()), {"x": X})
    found = run(make_session(to_proto(model).SerializeToString()), {"x": X})
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6, err_msg=name)
        assert found[name].shape == array.shape
    return model


@pytest.mark.parametrize(("stop", "steps"), [(9, 4), (3, 3), (1, 1)])
def test_a_loop_runs_until_its_count_or_its_condition_ends(stop: int, steps: int) -> None:
    model = check(STEPS.replace("STOP", str(stop)))
    assert sum(node.op_type == "MatMul" for node in model.graph) == steps
    assert {"bias", "w"} <= {*model.graph.initializers}  # once, for all steps


def test_a_scan_in_both_directions_along_any_axis() -> None:
    check(SCANNED)


def test_a_branch_chosen_by_a_fixed_size() -> None:
    model = check(BRANCH)
    assert "v" in model.graph.initializers


GIVEN = """net (float[4,3,2] x) => (float[2] y, float[n,2] every)
    <int64 most = {2}, bool yes = {1}, float[2] s0 = {0,0}> {
        y, every = Loop (most, yes, s0) <body = b
            (int64 i, bool going, float[2] s) => (bool on, float[2] w, float[2] w)
            <float[2] w = {3,4}> { on = Identity (going) }>
    }"""


def test_a_weight_that_a_body_gives_as_it_is() -> None:
    check(GIVEN)


def test_what_stands_inside_of_a_loop_is_written_out_too() -> None:
    check(NESTED)


DATA = "net (float[4,3,2] x, int64 n, bool c) => (float[4,3,2] y)"
LOOP = """<bool yes = {1}, int64 most = {MOST}> {
        y = Loop (COUNT, GOES, x) <body = b
            (int64 i, bool going, float[4,3,2] s) => (bool on, float[4,3,2] t) {
                t = Tanh (s)
                on = CONDITION
            }>
    }"""


@pytest.mark.parametrize(
    ("count", "goes", "condition", "most", "told"),
    [
        ("n", "yes", "Identity (going)", 1, "its number of steps depends on data"),
        ("most", "c", "Identity (going)", 1, "whether it begins depends on data"),
        ("most", "yes", "Identity (c)", 5, "when it ends depends on data"),
        ("most", "yes", "Identity (going)", 513, "more than 512 steps"),
        ("UNBOUNDED", "yes", "Identity (going)", 1, "more than 512 steps"),
    ],
)
def test_what_depends_on_data_or_is_too_long_stays_and_says_why(
    count: str, goes: str, condition: str, most: int, told: str
) -> None:
    text = LOOP.replace("MOST", str(most)).replace("COUNT", count).replace("GOES", goes)
    _, model = unrolled(f"{DATA}\n{text.replace('CONDITION', condition)}")
    (loop,) = (node for node in model.graph if node.op_type == "Loop")
    refusal = loop.metadata_props[REFUSAL_KEY]
    assert told in refusal and repr(loop.name) in refusal and "Export the model" in refusal


CHOICE = """net (float[4,3,2] x, bool[CONDITION] c) => (float[4,3,2] y, float[4,3,2] z)
    <float[2] w = {3,4}> {
        y, z = If (c) <
            then_branch = t () => (float[4,3,2] a, float[4,3,2] k) {
                a = Tanh (x)
                k = Identity (x)
            },
            else_branch = e () => (SHAPE b, float[4,3,2] d) { b = OTHER  d = Mul (x, w) }>
    }"""


def choice(condition: str = "", shape: str = "float[4,3,2]", other: str = "Mul (x, w)") -> str:
    text = CHOICE.replace("[CONDITION]", condition).replace("SHAPE", shape)
    return text.replace("OTHER", other)


@pytest.mark.parametrize("condition", ["", "[1]"])
@pytest.mark.parametrize("taken", [True, False])
def test_both_branches_of_a_choice_by_data_are_computed(condition: str, taken: bool) -> None:
    proto, model = unrolled(choice(condition))
    assert not {node.op_type for node in model.graph} & CONTROL
    feeds = {"x": X, "c": np.full((1,) if condition else (), taken)}
    wanted = run(make_session(proto.SerializeToString()), feeds)
    found = run(make_session(to_proto(model).SerializeToString()), feeds)
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"other": "Sqrt (x)"}, "Sqrt node 'Sqrt_1' of a branch may not be computed where the"),
        ({"shape": "float[n,3,2]", "other": "Abs (x)"}, ""),  # inferred: it is of one shape
        ({"shape": "float[2]", "other": "Abs (w)"}, "give shapes [4,3,2] and [2]"),
        ({"shape": "bool[4,3,2]", "other": "Less (x, x)"}, "give other types than"),
    ],
)
def test_a_choice_by_data_that_cannot_be_both_stays_and_says_why(
    given: dict[str, str], told: str
) -> None:
    _, model = unrolled(choice(**given))
    branches = [node for node in model.graph if node.op_type == "If"]
    assert len(branches) == bool(told)
    for branch in branches:
        refusal = branch.metadata_props[REFUSAL_KEY]
        assert "which branch it takes depends on data" in refusal and told in refusal
