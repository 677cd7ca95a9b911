"""Run two models on the same inputs and measure, tensor by tensor, how far they are apart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.difference import TensorDifference, difference
from onnxbf.errors import ModelError
from onnxbf.files import load_model
from onnxbf.protos import to_proto
from onnxbf.sample_inputs import Arrays, load_inputs, required_inputs, sample_inputs
from onnxbf.session import make_session, run
from onnxbf.tolerance import Bounds


@dataclass(frozen=True, slots=True)
class Comparison:
    """All tensors that were compared, in the order of model A."""

    a: str
    b: str
    format: str
    tensors: tuple[TensorDifference, ...]
    unmatched: tuple[str, ...]  # outputs of one model without a partner in the other

    @property
    def within(self) -> bool:
        """Whether every graph output lies within what the formats explain, and has a partner."""
        outputs = (tensor for tensor in self.tensors if tensor.is_output)
        return not self.unmatched and all(tensor.within for tensor in outputs)

    def as_dict(self) -> dict[str, Any]:
        tensors = [{**asdict(tensor), "within": tensor.within} for tensor in self.tensors]
        return {**asdict(self), "tensors": tensors, "within": self.within}

    def to_json(self) -> str:
        """JSON, in which infinities and NaN are null."""
        return json.dumps(_plain(self.as_dict()), indent=2) + "\n"


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def compare(
    a: str | Path | ir.Model,
    b: str | Path | ir.Model,
    *,
    inputs: str | Path | Mapping[str, NDArray[np.generic]] | None = None,
    layers: bool = False,
    seed: int = 0,
    threads: int | None = None,
) -> Comparison:
    """Run models ``a`` (the reference) and ``b`` on the same inputs and compare their outputs.

    Args:
        inputs: an ``.npz`` file or arrays by input name; random and seeded where None.
        layers: compare every tensor that both models have under one name, not outputs alone.

    Raises:
        ModelError: a model that cannot be loaded or run, or inputs that do not fit.
        RuntimeMissing: no ONNX Runtime, or one too old for a model.
    """
    model_a, name_a = _load(a)
    model_b, name_b = _load(b)
    feeds_a, feeds_b = _feeds(model_a, model_b, inputs, seed)
    pairs, unmatched = _output_pairs(model_a, model_b)
    shared = _shared_values(model_a, model_b, pairs) if layers else []
    left = _run(model_a, a, feeds_a, shared, threads)
    right = _run(model_b, b, feeds_b, shared, threads)
    bounds_a, bounds_b = Bounds(model_a), Bounds(model_b)
    fmt = max((bounds_a.coarsest, bounds_b.coarsest), key=lambda f: f.eps)
    wanted = [(name, name, False) for name in shared] + [(p, q, True) for p, q in pairs]
    _check_shapes(pairs, left, right)
    tensors = tuple(
        difference(
            left[p],
            right[q],
            fmt,
            names=(p, q),
            tolerance=bounds_a.tolerance(p) + bounds_b.tolerance(q),
            is_output=is_output,
        )
        for p, q, is_output in wanted
        if is_output or _comparable(left.get(p), right.get(q))
    )
    return Comparison(name_a, name_b, str(fmt), tensors, tuple(unmatched))


def _load(model: str | Path | ir.Model) -> tuple[ir.Model, str]:
    if isinstance(model, ir.Model):
        return model, model.graph.name or "model"
    return load_model(model), str(model)


def _feeds(
    a: ir.Model,
    b: ir.Model,
    inputs: str | Path | Mapping[str, NDArray[np.generic]] | None,
    seed: int,
) -> tuple[Arrays, Arrays]:
    """The inputs of both models; those of ``b`` are found by name, else by position."""
    if isinstance(inputs, str | Path):
        inputs = load_inputs(inputs, {"the first model": a})
    given = dict(inputs) if inputs is not None else sample_inputs(a, seed=seed)
    names_a = [value.name or "" for value in required_inputs(a)]
    names_b = [value.name or "" for value in required_inputs(b)]
    if not {*names_b} <= {*given}:
        if len(names_a) != len(names_b):
            raise ModelError(
                f"The models take different inputs: {', '.join(names_a)} and {', '.join(names_b)}."
            )
        given |= {q: given[p] for p, q in zip(names_a, names_b)}
    return {name: given[name] for name in names_a}, {name: given[name] for name in names_b}


def _output_pairs(a: ir.Model, b: ir.Model) -> tuple[list[tuple[str, str]], list[str]]:
    """Outputs matched by name, the rest in order where their shapes do not contradict."""
    left, right = list(a.graph.outputs), list(b.graph.outputs)
    names = {value.name for value in left} & {value.name for value in right}
    pairs = [(value.name or "", value.name or "") for value in left if value.name in names]
    rest_a = [value for value in left if value.name not in names]
    rest_b = [value for value in right if value.name not in names]
    unmatched = []
    for value in rest_a:
        partner = next((other for other in rest_b if _may_match(value, other)), None)
        if partner is None:
            unmatched.append(value.name or "")
            continue
        rest_b.remove(partner)
        pairs.append((value.name or "", partner.name or ""))
    return pairs, unmatched + [value.name or "" for value in rest_b]


def _may_match(a: ir.Value, b: ir.Value) -> bool:
    if a.dtype is not b.dtype:
        return False
    if a.shape is None or b.shape is None:
        return True
    sizes = zip(a.shape, b.shape)
    known = all(p == q for p, q in sizes if isinstance(p, int) and isinstance(q, int))
    return known and len(a.shape) == len(b.shape)


def _check_shapes(pairs: list[tuple[str, str]], left: Arrays, right: Arrays) -> None:
    for p, q in pairs:
        if left[p].shape != right[q].shape:
            raise ModelError(
                f"Output {p!r} has shape {left[p].shape} in the first model, and {q!r} has "
                f"{right[q].shape} in the second: they cannot be compared."
            )


def _shared_values(a: ir.Model, b: ir.Model, outputs: list[tuple[str, str]]) -> list[str]:
    """Names of the values that nodes of both main graphs compute, but for the outputs."""
    skip = {p for p, _ in outputs} | {q for _, q in outputs}
    names_b = {value.name for node in b.graph for value in node.outputs}
    computed = (value.name or "" for node in a.graph for value in node.outputs)
    return [name for name in computed if name and name in names_b and name not in skip]


def _comparable(a: object, b: object) -> bool:
    """Inner tensors are compared where both are floating point of one shape."""
    return (
        isinstance(a, np.ndarray)
        and isinstance(b, np.ndarray)
        and a.shape == b.shape
        and np.issubdtype(a.dtype, np.floating)
    )


def _run(
    model: ir.Model,
    source: str | Path | ir.Model,
    feeds: Arrays,
    shared: list[str],
    threads: int | None,
) -> Arrays:
    """Outputs of a model, and the inner tensors called ``shared``."""
    if not shared and not isinstance(source, ir.Model):
        return _tensors(run(make_session(source, threads=threads), feeds))
    proto = to_proto(model)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in shared)
    folder = None if isinstance(source, ir.Model) else Path(source).parent
    session = make_session(proto.SerializeToString(), folder=folder, threads=threads)
    return _tensors(run(session, feeds))


def _tensors(outputs: Mapping[str, Any]) -> Arrays:
    return {name: as_tensor(value) for name, value in outputs.items()}


def as_tensor(value: Any) -> NDArray[np.generic]:
    """An output as one tensor: sequences are strung together, maps give values in order of keys."""
    if isinstance(value, dict):
        return np.array([value[key] for key in sorted(value)])
    if not isinstance(value, list):
        return np.asarray(value)
    parts = [as_tensor(part) for part in value]
    if len({part.shape for part in parts}) == 1:
        return np.stack(parts)
    return np.concatenate([part.ravel() for part in parts]) if parts else np.zeros(0)
