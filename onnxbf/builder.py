"""Build nodes by calling operators: ``b.Add(x, b.constant(1.0))``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from onnxbf.graph import PHASE_KEY, Names, Phase

Operand = ir.Value | None


class Builder:
    """Collects new nodes in ``nodes``; who asked for them puts them into a graph.

    Every attribute is an operator: positional arguments are its inputs (None where one is absent),
    keywords its attributes. One value comes back, or ``outputs`` many in a tuple.

        >>> b = Builder(Names(model), "loss")
        >>> difference = b.Sub(prediction, target)
        >>> loss = b.ReduceMean(b.Mul(difference, difference), keepdims=0)
        >>> model.graph.extend(b.nodes)

    Args:
        names: gives the new nodes and values names that are not taken.
        prefix: what these names begin with.
        phase: the phase stamped on every node; None stamps none.
        domain: the domain of the operators called.
    """

    def __init__(
        self, names: Names, prefix: str, *, phase: Phase | None = None, domain: str = ""
    ) -> None:
        self.nodes: list[ir.Node] = []
        self._names = names
        self._prefix = prefix
        self._phase = phase
        self._domain = domain

    def within(self, part: str) -> Builder:
        """The same builder, for nodes whose names go on with ``/part``."""
        inner = Builder(self._names, f"{self._prefix}/{part}", phase=self._phase)
        inner.nodes, inner._domain = self.nodes, self._domain
        return inner

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if not op_type[:1].isupper():
            raise AttributeError(op_type)
        return lambda *inputs, **options: self.node(op_type, inputs, **options)

    def node(
        self,
        op_type: str,
        inputs: Sequence[Operand],
        *,
        outputs: int = 1,
        domain: str | None = None,
        **attributes: Any,
    ) -> Any:
        """Add one node; its output, or a tuple of them where ``outputs`` is not 1."""
        name = self._names.fresh(f"{self._prefix}/{op_type}")
        made = ir.node(
            op_type,
            inputs,
            attributes,
            domain=self._domain if domain is None else domain,
            num_outputs=outputs,
            name=name,
        )
        for value in made.outputs:
            value.name = self._names.fresh(f"{name}:{value.index()}")
        if self._phase is not None:
            made.metadata_props[PHASE_KEY] = self._phase.value
        self.nodes.append(made)
        return made.outputs[0] if outputs == 1 else tuple(made.outputs)

    def constant(self, value: ArrayLike, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        """A Constant node; Python numbers become float32 unless ``dtype`` says otherwise.

        Text is given as bytes.
        """
        array = np.asarray(value, dtype=dtype.numpy())
        text = dtype is ir.DataType.STRING
        made: ir.Value = self.node(
            "Constant", (), value=ir.StringTensor(array) if text else ir.tensor(array)
        )
        made.dtype, made.shape = dtype, ir.Shape(array.shape)
        return made

    def integers(self, *values: int) -> ir.Value:
        """A one-dimensional int64 constant: axes, shapes, starts."""
        return self.constant(list(values), ir.DataType.INT64)
