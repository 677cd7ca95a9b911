"""Saves an exported model with its sample data, and checks models against that data.

Every export script hands its models to `run`. Called by itself, this file checks the models
that lie here in whichever ONNX Runtime is installed, and lists what they hold:

    python tests/models/export_common.py [NAME...]

Run with Python 3.11 and `pip install onnx==1.23.2 numpy==2.4.6` with one of
`onnxruntime-training-cpu==1.19.2` and `onnxruntime==1.32.0`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

FOLDER = Path(__file__).parent
MAX_OPSET = 21
MAX_IR_VERSION = 10
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # of float32, across frameworks
# Stack traces hold paths of the machine that exported; the others repeat what "namespace" tells.
DROPPED_METADATA = (
    "pkg.torch.onnx.stack_trace",
    "pkg.torch.onnx.fx_node",
    "pkg.torch.onnx.class_hierarchy",
    "pkg.torch.onnx.name_scopes",
)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Exported:
    """A model as its exporter made it, with sample inputs and the framework's own outputs."""

    model: onnx.ModelProto
    inputs: Arrays
    outputs: Arrays


def exported(model: onnx.ModelProto, inputs: Mapping[str, Any], outputs: Iterable[Any]) -> Exported:
    """Pairs a model with arrays, or what turns into arrays: the outputs in the graph's order."""
    names = (value.name for value in model.graph.output)
    return Exported(
        model,
        {name: np.asarray(value) for name, value in inputs.items()},
        {name: np.asarray(value) for name, value in zip(names, outputs, strict=True)},
    )


Table = Mapping[str, Callable[[], Exported]]


def table_of(*functions: Callable[[], Exported]) -> Table:
    """The functions by their names, which are the names of the models that they make."""
    return {function.__name__: function for function in functions}


def run(table: Table, seed: Callable[[int], object]) -> None:
    """Exports, saves and checks the models named on the command line, or all of the table.

    `seed` seeds the framework: before each model, so that no model depends on those before it.
    """
    names = sys.argv[1:] or list(table)
    unknown = [name for name in names if name not in table]
    if unknown:
        sys.exit(f"No model {', '.join(unknown)}; there are: {', '.join(table)}.")
    for name in names:
        seed(0)
        save(name, table[name]())
        sys.stdout.write(check(name) + "\n")


def save(name: str, exported: Exported) -> None:
    """Writes `NAME.onnx` and `NAME.npz`."""
    model = exported.model
    model.ir_version = min(model.ir_version, MAX_IR_VERSION)
    drop_metadata(model)
    data = model.SerializeToString(deterministic=True)
    (FOLDER / f"{name}.onnx").write_bytes(data)
    arrays = {f"input/{key}": value for key, value in exported.inputs.items()}
    arrays |= {f"output/{key}": value for key, value in exported.outputs.items()}
    np.savez_compressed(FOLDER / f"{name}.npz", allow_pickle=False, **arrays)


def drop_metadata(model: onnx.ModelProto) -> None:
    """Removes what tells of the exporting machine, from the graph and all inside it."""
    holders: list[Any] = [model, *model.functions, *graphs(model), *nodes(model)]
    holders += [value for graph in graphs(model) for value in graph.value_info]
    for holder in holders:
        kept = [entry for entry in holder.metadata_props if entry.key not in DROPPED_METADATA]
        del holder.metadata_props[:]
        holder.metadata_props.extend(kept)


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes: of the graph, of the functions, and of the graphs inside both."""
    for function in model.functions:
        yield from function.node
    for graph in graphs(model):
        yield from graph.node


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and all graphs inside nodes, those of functions too."""
    yield model.graph
    waiting = [*model.graph.node]
    for function in model.functions:
        waiting.extend(function.node)
    while waiting:
        for attribute in waiting.pop().attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g
                waiting.extend(attribute.g.node)


def check(name: str) -> str:
    """Checks a saved model and runs it; returns a line that tells what it holds.

    Raises:
        ValueError: too new for ONNX Runtime 1.19, weights outside the file, or other outputs
            than the framework's.
    """
    path = FOLDER / f"{name}.onnx"
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("", 0) > MAX_OPSET or model.ir_version > MAX_IR_VERSION:
        raise ValueError(f"{name}: opset {opsets}, IR version {model.ir_version}")
    if any(weight.external_data for graph in graphs(model) for weight in graph.initializer):
        raise ValueError(f"{name}: weights outside the file")
    worst = largest_difference(name)
    counts = Counter(node.op_type for node in nodes(model))
    operators = " ".join(f"{operator}:{count}" for operator, count in counts.most_common())
    versions = " ".join(f"{domain or 'onnx'}={version}" for domain, version in opsets.items())
    return (
        f"{name}: {path.stat().st_size / 1000:.0f} KB, IR {model.ir_version}, {versions}, "
        f"{len(model.functions)} functions, largest difference {worst:.1e}; {operators}"
    )


def largest_difference(name: str) -> float:
    """The largest absolute difference of any output to the framework's, as ONNX Runtime runs it.

    Raises:
        ValueError: an output that differs by more than the tolerance, or in type or shape.
    """
    with np.load(FOLDER / f"{name}.npz") as data:
        arrays = dict(data)
    session = onnxruntime.InferenceSession(
        FOLDER / f"{name}.onnx", providers=["CPUExecutionProvider"]
    )
    feeds = {value.name: arrays[f"input/{value.name}"] for value in session.get_inputs()}
    found = zip(session.get_outputs(), session.run(None, feeds), strict=True)
    return max(
        difference(f"{name}, {value.name}", arrays[f"output/{value.name}"], as_array(result))
        for value, result in found
    )


def as_array(result: Any) -> np.ndarray:
    """An output as an array; of a sequence of maps, as ZipMap makes it, one row for each map."""
    if isinstance(result, list) and result and isinstance(result[0], dict):
        return np.array([[row[key] for key in sorted(row)] for row in result], np.float32)
    return np.asarray(result)


def difference(label: str, expected: np.ndarray, found: np.ndarray) -> float:
    """The largest absolute difference of two arrays, 0 for equal ones of text or integers.

    Raises:
        ValueError: they differ by more than the tolerance, or in type or shape.
    """
    if found.dtype == object:  # ONNX Runtime's text
        found = found.astype(expected.dtype)
    if expected.shape != found.shape or expected.dtype != found.dtype:
        raise ValueError(f"{label}: {expected.dtype}{expected.shape}, {found.dtype}{found.shape}")
    if expected.dtype.kind != "f":
        if not np.array_equal(expected, found):
            raise ValueError(f"{label}: expected {expected}, found {found}")
        return 0.0
    worst = float(np.abs(found - expected).max(initial=0))
    if not np.allclose(found, expected, RELATIVE, ABSOLUTE):
        raise ValueError(f"{label}: differs by up to {worst}")
    return worst


if __name__ == "__main__":
    sys.stdout.write(f"ONNX Runtime {onnxruntime.__version__}\n")
    for chosen in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.onnx")):
        sys.stdout.write(check(chosen) + "\n")
