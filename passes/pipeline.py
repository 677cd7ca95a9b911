"""The passes in order: what ``onnxbf convert`` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import onnx
import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import UnsupportedError
from onnxbf.files import check_proto, load_model
from onnxbf.formats import NumberFormat, parse_format
from onnxbf.graph import RECIPE_KEY, all_graphs, collection_paused
from onnxbf.passes.base import GraphPass
from onnxbf.passes.canonicalize import Canonicalize
from onnxbf.passes.choose import EVERYTHING, Selection
from onnxbf.passes.eliminate_redundant import EliminateRedundant
from onnxbf.passes.emulate_compute import EmulateCompute
from onnxbf.passes.fold_weights import FoldWeights
from onnxbf.passes.infer_shapes import InferShapes
from onnxbf.passes.infer_types import ForgetTypes, InferTypes
from onnxbf.passes.insert_quantize import InsertQuantize
from onnxbf.passes.lower_portable import LowerPortable
from onnxbf.passes.replace_gradients import is_replaced
from onnxbf.passes.round_weight_gradients import RoundWeightGradients
from onnxbf.passes.saturate_constants import SaturateConstants
from onnxbf.passes.scale_states import ScaleByCurrent
from onnxbf.passes.split_gradients import SplitGradients
from onnxbf.passes.stamp_phases import StampPhases
from onnxbf.passes.type_functions import TypeFunctions
from onnxbf.protos import from_proto, to_proto
from onnxbf.recipe import Recipe, check_op_type, compile_pattern, load_recipe
from onnxbf.report import Report


def rewrite(
    model: ir.Model,
    recipe: Recipe,
    *,
    selection: Selection = EVERYTHING,
    portable: bool = False,
    store_weights: NumberFormat | None = None,
    seed: int = 0,
    keeps_scales: bool = False,
) -> Report:
    """Run all passes on ``model``, in place. A model that was rewritten before stays as it is.

    Args:
        keeps_scales: whether nodes of delayed scaling will get a state, see scale_states.py.
    """
    earlier = converted_with(model)
    if earlier is not None:
        return Report(earlier, already_converted=True)
    if portable and recipe.arithmetics:
        raise UnsupportedError(
            f"--portable cannot express the arithmetic of recipe {recipe.name!r}, which takes "
            "onnxbf's own operators: leave out --portable, or choose another recipe."
        )
    report = Report(recipe.name)
    types = InferTypes(report)
    passes: list[GraphPass] = [
        Canonicalize(report),
        StampPhases(report),
        SplitGradients(report),
        *([InferShapes(report)] if recipe.rounds else []),
        types,
        SaturateConstants(report, recipe),
        InsertQuantize(report, recipe, selection, seed),
        RoundWeightGradients(report, recipe, selection, seed),
        *([] if keeps_scales else [ScaleByCurrent(report)]),
        EliminateRedundant(report),
    ]
    if store_weights is not None:
        passes.append(FoldWeights(report, store_weights))
    passes.append(EmulateCompute(report, recipe, selection, seed))
    passes.append(LowerPortable(report) if portable else TypeFunctions(report))
    passes.append(ForgetTypes(report, types.stated))
    for graph_pass in passes:
        graph_pass(model)
    if report.changes or report.emulated or store_weights is not None:
        model.metadata_props[RECIPE_KEY] = recipe.name
    return report


def converted_with(model: ir.Model) -> str | None:
    """The recipe that a model was rewritten with before; None for a model that never was."""
    recipe = model.metadata_props.get(RECIPE_KEY)
    rewritten = any(  # those that replace gradients stand in graphs that round nothing
        node.domain == DOMAIN and not is_replaced(node)
        for graph in all_graphs(model)
        for node in graph
    )
    return recipe or ("unknown" if rewritten else None)


def make_selection(
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    op_types: str | Sequence[str] = (),
) -> Selection:
    """A Selection from text; see there for the meaning.

    Raises:
        SpecError: a pattern that is not a regular expression.
        NameUnknown: an operator type that is not known to be rounded.
    """
    for op_type in _several(op_types):
        check_op_type(op_type)
    return Selection(
        tuple(compile_pattern(pattern) for pattern in _several(include)),
        tuple(compile_pattern(pattern) for pattern in _several(exclude)),
        _several(op_types),
    )


def _several(texts: str | Sequence[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


@overload
def convert(
    model: ir.Model,
    recipe: str | Path | Recipe = ...,
    *,
    include: str | Sequence[str] = ...,
    exclude: str | Sequence[str] = ...,
    op_types: str | Sequence[str] = ...,
    portable: bool = ...,
    store_weights: str | None = ...,
    seed: int = ...,
) -> tuple[ir.Model, Report]: ...


@overload
def convert(
    model: str | Path | onnx.ModelProto,
    recipe: str | Path | Recipe = ...,
    *,
    include: str | Sequence[str] = ...,
    exclude: str | Sequence[str] = ...,
    op_types: str | Sequence[str] = ...,
    portable: bool = ...,
    store_weights: str | None = ...,
    seed: int = ...,
) -> tuple[onnx.ModelProto, Report]: ...


def convert(
    model: str | Path | onnx.ModelProto | ir.Model,
    recipe: str | Path | Recipe = "bf16",
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    op_types: str | Sequence[str] = (),
    portable: bool = False,
    store_weights: str | None = None,
    seed: int = 0,
) -> tuple[onnx.ModelProto | ir.Model, Report]:
    """Rewrite a model so that it computes as hardware of another number format does.

    Args:
        model: a path, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; it is not changed. External
            weights of a path stay in their files and are referred to from there.
        recipe: the name of a ready-made recipe, the path of a TOML file, or a Recipe.
        include: regular expressions; only nodes in whose name one is found are rewritten.
        exclude: regular expressions; nodes in whose name one is found are not.
        op_types: operator types or classes to rewrite, instead of all that the recipe names.
        portable: write Cast pairs, which any runtime executes, instead of custom operators.
        store_weights: round the weights now, for inference only, and store them as ``"fp32"``,
            ``"bf16"``, ``"fp16"``, ``"e4m3fn"`` or ``"e5m2"``.
        seed: the seed of stochastic rounding.

    Returns:
        The rewritten model (``onnx_ir.Model`` if that was given, else ``onnx.ModelProto``), and
        what was done.

    Raises:
        ModelError: not a usable model. NameUnknown, SpecError: recipe, pattern or format.
        UnsupportedError: ``portable`` or ``store_weights`` cannot be had for these casts.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    selection = make_selection(include, exclude, op_types)
    store = None if store_weights is None else parse_format(store_weights)
    with collection_paused():
        work = _as_ir(model)
        report = rewrite(
            work, chosen, selection=selection, portable=portable, store_weights=store, seed=seed
        )
        return (work if isinstance(model, ir.Model) else to_proto(work)), report


def _as_ir(model: str | Path | onnx.ModelProto | ir.Model) -> ir.Model:
    if isinstance(model, ir.Model):
        return model.clone()
    if isinstance(model, onnx.ModelProto):
        check_proto(model)
        return from_proto(model)
    return load_model(model)
