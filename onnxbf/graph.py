"""Small things that every pass asks of a graph: phases, constants, names, data types."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterable, Iterator, Sequence

import onnx_ir as ir

from onnxbf.spec import TextEnum

PHASE_KEY = "onnxbf.phase"
ROLE_KEY = "onnxbf.role"
RECIPE_KEY = "onnxbf.recipe"
KIND_KEY = "onnxbf.kind"
OPERATOR_KEY = "onnxbf.operator"  # what a node stands for, where its type does not say it
GRADIENT = ".gradient"  # what the names of parameters' gradients end in
GRADIENT_OF = "_Grad/"  # follows the name of a forward node in those of its gradient nodes
SUM_OF = "AccumulateGrad_"  # precedes the name of a value in that of the sum of its gradients
NORM_PART = "onnxbf.norm"  # a part of the names of nodes that write out one normalization
REFUSAL_KEY = "onnxbf.refusal"  # why a node cannot be differentiated
NEXT = ".next"  # what the names of next values of buffers, slots and parameters end in
UPDATE = ".update"  # what the names of what is taken off parameters end in
LOSS_PREFIX = "loss/"  # of the names of nodes that belong to the loss
_ORT_LOSS = re.compile(r"onnx::\w+::\d+")  # what ONNX Runtime's artifact generator calls them

# What an input of a gradient or update graph is, where it is not a part of the batch.
PARAMETER, BUFFER, LABEL, SCALE, STEP = "parameter", "buffer", "label", "loss_scale", "step"


class Phase(TextEnum):
    """The part of a training step that a node belongs to."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input_gradient"
    WEIGHT_GRADIENT = "weight_gradient"
    UPDATE = "update"


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Keep Python's cyclic garbage collector off while a graph is built or rewritten.

    All that is made then stays alive, so that the collector only scans a growing graph again and
    again: a third of the time at 100,000 nodes. Nor is the graph scanned at the end: to freeze and
    release moves all there is to the oldest generation.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on and not gc.get_freeze_count():  # else the caller froze what is to stay frozen
            gc.freeze()
            gc.unfreeze()
        if was_on:
            gc.enable()


def is_loss(node: ir.Node) -> bool:
    """Whether a node computes the loss, or a gradient within it: its name says so."""
    name = (node.name or "").removeprefix(SUM_OF)
    return name.startswith(LOSS_PREFIX) or _ORT_LOSS.match(name) is not None


def phase_of(node: ir.Node) -> Phase:
    """The phase stamped on a node; a node without a stamp is forward."""
    stamp = node.metadata_props.get(PHASE_KEY)
    return Phase.FORWARD if stamp is None else Phase(stamp)


def mark_kind(value: ir.Value, kind: str) -> None:
    """Say what a graph input is: PARAMETER, BUFFER, LABEL, SCALE or STEP."""
    value.metadata_props[KIND_KEY] = kind


def kind_of(value: ir.Value) -> str | None:
    """What ``mark_kind`` said."""
    return value.metadata_props.get(KIND_KEY)


def step_input(model: ir.Model) -> ir.Value | None:
    """The input of a gradient or update graph that counts steps; None in any other model.

    It is made when it is first asked for: an int64 scalar called ``step``.
    """
    inputs = model.graph.inputs
    found = next((value for value in inputs if kind_of(value) == STEP), None)
    if found is not None or not any(is_parameter(value) for value in inputs):
        return found
    made = ir.Value(name=STEP, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    mark_kind(made, STEP)
    inputs.append(made)
    return made


def is_parameter(value: ir.Value) -> bool:
    """Whether a graph input is a trained parameter."""
    return value.is_graph_input() and kind_of(value) == PARAMETER


def all_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """Every graph that holds nodes: the main graph, functions' bodies, and their subgraphs."""
    for top in top_graphs(model):
        yield from _with_subgraphs(top)


def _with_subgraphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    yield graph
    for node in graph:
        for inner in subgraphs_of(node):
            yield from _with_subgraphs(inner)


def top_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The functions' bodies and the main graph, which stand in no other graph."""
    for function in model.functions.values():
        yield function.graph
    yield model.graph


def subgraphs_of(node: ir.Node) -> Sequence[ir.Graph]:
    """The graphs that a node (If, Loop, Scan ...) holds in its attributes."""
    if not node.attributes.data:  # most nodes: this is called for all of them, by every pass
        return ()
    found: list[ir.Graph] = []
    for attribute in node.attributes.data.values():
        if attribute.type is ir.AttributeType.GRAPH and not attribute.is_ref():
            found.append(attribute.as_graph())
        if attribute.type is ir.AttributeType.GRAPHS and not attribute.is_ref():
            found.extend(attribute.as_graphs())
    return found


def is_call(model: ir.Model, node: ir.Node) -> bool:
    """Whether a node calls a function of the model."""
    return node.op_identifier() in model.functions


def constant_of(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor behind an initializer or the output of a Constant node; None for other values."""
    if value.is_initializer():
        return value.const_value
    producer = value.producer()
    if producer is None or producer.op_type != "Constant" or producer.domain:
        return None
    return _constant_node(producer)


def _constant_node(node: ir.Node) -> ir.TensorProtocol | None:
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            return None
        if name == "value":
            return attribute.as_tensor()
        if name == "value_float":
            return ir.tensor(attribute.as_float(), dtype=ir.DataType.FLOAT)
        if name == "value_floats":
            return ir.tensor(list(attribute.as_floats()), dtype=ir.DataType.FLOAT)
    return None


REARRANGES = frozenset({"Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})
REARRANGES_OR_PARTS = REARRANGES | {"Split", "Slice"}


def constant_source(value: ir.Value) -> ir.Value | None:
    """The constant that ``value`` is, or of which it is a rearrangement or a part; None otherwise.

    Parameters of a gradient graph, which are inputs of it, count as constants.
    """
    while True:
        if constant_of(value) is not None or is_parameter(value):
            return value
        producer = value.producer()
        if producer is None or producer.op_type not in REARRANGES_OR_PARTS or not producer.inputs:
            return None
        first = producer.inputs[0]
        if first is None:
            return None
        value = first


def replace_node(
    node: ir.Node, nodes: Sequence[ir.Node], results: Sequence[ir.Value | None]
) -> None:
    """Put ``nodes`` in the place of ``node``; their ``results`` take its outputs' names.

    None stands for an output that nothing reads. Those of ``nodes`` that nothing reads are dropped.
    """
    graph = node.graph
    assert graph is not None
    graph.insert_before(node, nodes)
    for old, new in zip(node.outputs, results):
        if new is not None and old.name:
            take_place(new, old)
    graph.remove(node, safe=True)
    for made in reversed(nodes):
        if not any(value.uses() or value.is_graph_output() for value in made.outputs):
            graph.remove(made, safe=True)


def take_place(new: ir.Value, old: ir.Value) -> None:
    """Have all that reads ``old`` read ``new``, which takes its name, type and shape."""
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    new.name, old.name = old.name, None
    new.type, new.shape = old.type, old.shape


class Names:
    """Unique names for new values and nodes, over all scopes of a model."""

    def __init__(self, model: ir.Model) -> None:
        self._taken: set[str] = set()
        for graph in all_graphs(model):
            self._taken.update(_names(graph))

    def fresh(self, wanted: str) -> str:
        """``wanted``, or ``wanted_1``, ``wanted_2`` ... if it is taken."""
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name


def _names(graph: ir.Graph) -> Iterable[str]:
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        if node.name:
            yield node.name
        values.extend(node.outputs)
    yield from (value.name for value in values if value.name)
