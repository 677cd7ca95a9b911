"""How far each arithmetic profile is from the exact sums, layer by layer.

Two questions, two figures. *Alone*: every node that sums is given what it is given in a network of
exact sums, so that its error is its own. *So far*: a whole network sums as the profile says, and
what its outputs are apart has come together on the way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.arithmetic import PROFILES, Arithmetic
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.difference import TensorDifference, difference
from onnxbf.errors import UnsupportedError
from onnxbf.files import load_model
from onnxbf.formats import FLOAT32, Cast
from onnxbf.graph import Names, constant_of
from onnxbf.passes.pipeline import convert
from onnxbf.protos import to_proto
from onnxbf.recipe import EMULATED, Recipe, Rule
from onnxbf.sample_inputs import load_inputs, required_inputs, sample_inputs
from onnxbf.session import make_session, run

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One node that sums (a matrix product, a mean ...), or one output of the model.

    Attributes:
        terms: of each of its sums; None where the model does not tell, and of outputs.
        differences: from the exact result, by profile.
    """

    name: str
    op_type: str
    terms: int | None
    differences: Mapping[str, TensorDifference]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What was measured: ``layers`` alone, ``outputs`` so far. ``notes``: what was left out."""

    model: str
    operands: str
    profiles: tuple[str, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[Layer, ...]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """JSON, in which infinities and NaN are null."""
        data = {
            **{name: getattr(self, name) for name in ("model", "operands", "profiles", "notes")},
            "layers": [_plain(layer) for layer in self.layers],
            "outputs": [_plain(layer) for layer in self.outputs],
        }
        return json.dumps(data, indent=2) + "\n"


def _plain(layer: Layer) -> dict[str, Any]:
    measures = ("max_abs", "mean_abs", "max_rel", "max_ulp", "norm_rel", "snr_db")
    errors = {}
    for profile, each in layer.differences.items():
        full = asdict(each)
        numbers = {name: full[name] if np.isfinite(full[name]) else None for name in measures}
        errors[profile] = {**numbers, "special_mismatches": each.special_mismatches}
    head = {"name": layer.name, "op_type": layer.op_type, "terms": layer.terms}
    return {**head, "errors": errors}


def measure_accuracy(
    model: str | Path | ir.Model,
    profiles: Sequence[Arithmetic],
    *,
    operands: Cast | None = None,
    inputs: str | Path | Mapping[str, NDArray[np.generic]] | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Accuracy:
    """Compare each profile with ``exact``, on the same inputs.

    Args:
        operands: what both operands of every product are rounded to first, for ``exact``, too; so
            that sums are measured, not operands. None takes them in float32.
        inputs: an ``.npz`` file or arrays by input name; random and seeded where None.
        seed: of random inputs, and of sums that are rounded stochastically.

    Raises:
        ModelError: a model that cannot be loaded or run, or inputs that do not fit.
        UnsupportedError: a model without a node that can sum as a profile says.
    """
    source = model if isinstance(model, ir.Model) else load_model(model)
    name = (source.graph.name or "model") if isinstance(model, ir.Model) else str(model)
    feeds = _feeds(source, inputs, seed)
    folder = None if isinstance(model, ir.Model) else Path(model).parent

    def compute(made: ir.Model, more: Sequence[str] = ()) -> Arrays:
        proto = to_proto(made)
        proto.graph.output.extend(onnx.ValueInfoProto(name=each) for each in more)
        session = make_session(proto.SerializeToString(), folder=folder, threads=threads)
        return run(session, feeds)

    exact, report = convert(source, _recipe(PROFILES["exact"], operands), seed=seed)
    products = [node for node in exact.graph if node.domain == DOMAIN and _sums(node)]
    if not products:
        raise UnsupportedError(
            f"{name} has no node that can sum as a profile says: {', '.join(EMULATED)} on float32, "
            "outside of loops and branches."
        )
    outputs = [value.name or "" for value in exact.graph.outputs]
    names = Names(exact)
    twins = {node: _twins(names, node, profiles, seed) for node in products}
    inner = [node.outputs[0].name or "" for node in products]
    inner += [twin for several in twins.values() for twin in several]
    found = compute(exact, [each for each in inner if each not in outputs])
    layers = tuple(
        Layer(
            node.name or "",
            node.op_type,
            _terms(node),
            {
                str(profile): _difference(found[node.outputs[0].name or ""], found[twin])
                for profile, twin in zip(profiles, twins[node])
            },
        )
        for node in products
    )
    whole = {
        str(each): compute(convert(source, _recipe(each, operands), seed=seed)[0])
        for each in profiles
    }
    ends = tuple(
        Layer(
            each,
            "output",
            None,
            {profile: _difference(found[each], other[each]) for profile, other in whole.items()},
        )
        for each in outputs
        if _is_floating(found[each])
    )
    shown = "fp32" if operands is None else str(operands)
    return Accuracy(name, shown, tuple(map(str, profiles)), layers, ends, tuple(report.notes))


def _feeds(
    model: ir.Model, inputs: str | Path | Mapping[str, NDArray[np.generic]] | None, seed: int
) -> Arrays:
    if inputs is None:
        return sample_inputs(model, seed=seed)
    if isinstance(inputs, str | Path):
        inputs = load_inputs(inputs, {"the model": model})
    wanted = [value.name or "" for value in required_inputs(model)]
    return {name: inputs[name] for name in wanted}


def _recipe(arithmetic: Arithmetic, operands: Cast | None) -> Recipe:
    rule = Rule(ops=EMULATED, inputs=operands, weights=operands, arithmetic=arithmetic)
    return Recipe("accuracy", "", (rule,))


def _sums(node: ir.Node) -> bool:
    return "arithmetic" in node.attributes


def _twins(names: Names, node: ir.Node, profiles: Sequence[Arithmetic], seed: int) -> list[str]:
    """Nodes beside ``node``, one for each profile, that compute the same; their results' names."""
    assert node.graph is not None
    made = []
    for number, profile in enumerate(profiles):
        twin = ir.node(
            node.op_type,
            list(node.inputs),
            {**node.attributes, "arithmetic": str(profile), "seed": seed, "node": number},
            domain=DOMAIN,
            name=names.fresh(f"{node.name}_as_{number}"),
        )
        twin.outputs[0].name = names.fresh(f"{node.outputs[0].name}_as_{number}")
        node.graph.insert_after(node, twin)
        made.append(twin.outputs[0].name)
    return made


_SUMMED = {"Conv": 1, "ConvTranspose": 0}  # which axis of the weights is summed over


def _terms(node: ir.Node) -> int | None:
    """From the shape of what is summed, or of the second operand, where that is known."""
    if node.op_type in _AXES:
        return _terms_along(node)
    second = node.inputs[1]
    shape = None if second is None else second.shape
    if shape is None or not len(shape):
        return None
    if node.op_type in _SUMMED:
        sizes = [shape[axis] for axis in (_SUMMED[node.op_type], *range(2, len(shape)))]
        known = [size for size in sizes if isinstance(size, int)]
        if len(known) < len(sizes):
            return None
        groups = node.attributes.get_int("group", 1) if node.op_type == "ConvTranspose" else 1
        return math.prod(known) // groups
    place = -1 if len(shape) == 1 or node.attributes.get_int("transB", 0) != 0 else -2
    size = shape[place]
    return size if isinstance(size, int) else None


_AXES: dict[str, Callable[[ir.Node, int], Sequence[int]]] = {  # by node and rank: those summed over
    "ReduceSum": lambda node, rank: _axes_input(node) or range(rank),
    "ReduceMean": lambda node, rank: _axes_input(node) or range(rank),
    "Softmax": lambda node, rank: [node.attributes.get_int("axis", -1)],
    "LayerNormalization": lambda node, rank: range(
        node.attributes.get_int("axis", -1) % rank, rank
    ),
}


def _axes_input(node: ir.Node) -> list[int]:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    tensor = None if axes is None else constant_of(axes)
    return [] if tensor is None else tensor.numpy().tolist()


def _terms_along(node: ir.Node) -> int | None:
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    if shape is None or not len(shape):
        return None
    sizes = [shape[axis] for axis in _AXES[node.op_type](node, len(shape))]
    known = [size for size in sizes if isinstance(size, int)]
    return math.prod(known) if len(known) == len(sizes) else None


def _is_floating(array: Any) -> bool:
    return isinstance(array, np.ndarray) and np.issubdtype(array.dtype, np.floating)


def _difference(exact: NDArray[Any], other: NDArray[Any]) -> TensorDifference:
    return difference(exact, other, FLOAT32, names=("exact", "profile"), tolerance=np.inf)
