"""``onnxbf convert``: rewrite a model file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from onnxbf.cli.console import console, progress, warn
from onnxbf.cli.options import examples, recipe_options, seed_option


@click.command(
    "convert",
    epilog=examples(
        "onnxbf convert model.onnx",
        "onnxbf convert model.onnx -o model.fp8.onnx --recipe fp8 --exclude 'lm_head'",
        "onnxbf convert model.onnx --portable --store-weights bf16",
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write. [default: MODEL.RECIPE.onnx beside the model]",
)
@recipe_options
@click.option("--portable", is_flag=True, help="Write Cast pairs, which any ONNX runtime executes.")
@click.option(
    "--store-weights",
    metavar="FORMAT",
    help="Round the weights now and store them as fp32, bf16, fp16, e4m3fn or e5m2 (inference).",
)
@click.option(
    "--keep-weights", is_flag=True, help="Refer to external weights where they are; never copy."
)
@seed_option("Of stochastic rounding.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write what was done as JSON to this file."
)
@click.option("--force", is_flag=True, help="Allow to write over the model itself.")
def command(
    model: Path,
    output: Path | None,
    recipe: str,
    report: Path | None,
    store_weights: str | None,
    portable: bool,
    keep_weights: bool,
    force: bool,
    seed: int,
    **selected: Any,
) -> None:
    """Rewrite MODEL so that it computes as BF16 (or other) hardware does.

    Quantize/dequantize nodes are put around its compute operators as the recipe says. The result
    runs in ONNX Runtime with onnxbf's kernels (onnxbf.register_custom_ops), or anywhere with
    --portable. A training model that ONNX Runtime's artifact generator made is rewritten forward
    and backward, and takes the old one's place.
    """
    from onnxbf.errors import UnsupportedError
    from onnxbf.files import check_file, check_target, load_model, save_model, write_text
    from onnxbf.formats import parse_format
    from onnxbf.graph import collection_paused
    from onnxbf.passes.pipeline import make_selection, rewrite
    from onnxbf.recipe import load_recipe

    chosen = load_recipe(recipe)
    selection = make_selection(**selected)
    store = None if store_weights is None else parse_format(store_weights)
    check_file(model)
    target = output or model.with_name(f"{model.stem}.{chosen.name}.onnx")
    if _same(target, model) and not force:
        raise UnsupportedError(
            f"The output {str(target)!r} is the model itself: name another with -o, or use --force."
        )
    check_target(target)  # before the work, not after it
    if report is not None:
        check_target(report)
        if _same(report, model) or _same(report, target):
            raise UnsupportedError(
                f"The report {str(report)!r} is a model, too: name another file."
            )
    with collection_paused(), progress() as bar:
        bar.step(f"Reading {model.name}")
        graph = load_model(model)
        bar.step("Rewriting")
        done = rewrite(
            graph,
            chosen,
            selection=selection,
            portable=portable,
            store_weights=store,
            seed=seed,
        )
        bar.step(f"Writing {target.name}")
        save_model(graph, target, keep_weights=keep_weights, progress=bar.count)
    for warning in done.warnings:
        warn(warning)
    done.warnings, shown = [], done.warnings
    console.print(str(done), highlight=False, markup=False)
    done.warnings = shown
    console.print(f"Wrote {target}", highlight=False, markup=False)
    if report is not None:
        write_text(report, done.to_json())


def _same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)
