"""``onnxbf artifacts``: write what ONNX Runtime's own training API takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxbf.cli.console import console, progress, warn
from onnxbf.cli.options import examples, recipe_options


@click.command(
    "artifacts",
    epilog=examples(
        "onnxbf artifacts model.onnx --loss cross-entropy -o artifacts/",
        "onnxbf artifacts model.onnx --loss mse --optimizer sgd --recipe none -o artifacts/",
        "onnxbf artifacts model.onnx --loss 'cross-entropy{label_smoothing=0.1}' "
        "--optimizer 'adamw{weight_decay=0.1,clip_norm=1}' -o artifacts/",
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write into; it is made if it does not exist.",
)
@click.option(
    "--loss",
    required=True,
    metavar="NAME{KEY=VALUE,...}",
    help="cross-entropy, mse, bce-with-logits ..., or output{name=...}: the model's own.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="A constant for an input: training=true, state=0, mask=[1,0].",
)
@click.option(
    "--outputs",
    multiple=True,
    metavar="NAME",
    help="The output that the loss is of, where the model has several; may be repeated.",
)
@click.option(
    "--optimizer",
    default="adamw",
    show_default=True,
    metavar="NAME{KEY=VALUE,...}",
    help="adamw, adam or sgd: ONNX Runtime's API has no others.",
)
@click.option(
    "--train", multiple=True, metavar="REGEX", help="Train initializers in whose name this is."
)
@click.option(
    "--freeze", multiple=True, metavar="REGEX", help="Do not train those in whose name this is."
)
@recipe_options
@click.option("--portable", is_flag=True, help="Write Cast pairs instead of custom operators.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of stochastic rounding.")
@click.option("--force", is_flag=True, help="Allow to replace files in DIR.")
def command(
    model: Path,
    output: Path,
    loss: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    optimizer: str,
    train: tuple[str, ...],
    freeze: tuple[str, ...],
    recipe: str,
    portable: bool,
    seed: int,
    force: bool,
    **selected: Any,
) -> None:
    """Write what ONNX Runtime's own training API needs to train MODEL under a recipe.

    DIR then holds training_model.onnx, eval_model.onnx, optimizer_model.onnx and checkpoint, for
    its Module, Optimizer and CheckpointState. The custom operators must be registered in the
    session options that Module is given (onnxbf.register_custom_ops); with --portable there are
    none. The learning rate is set there, too.
    """
    from onnxbf.files import load_model
    from onnxbf.graph import collection_paused
    from onnxbf.passes.pipeline import make_selection
    from onnxbf.recipe import load_recipe
    from onnxbf.training.artifacts import make_artifacts, save_artifacts
    from onnxbf.training.graphs import build_graphs
    from onnxbf.training.ort_optimizer import make_ort_optimizer

    chosen, selection = load_recipe(recipe), make_selection(**selected)
    update = make_ort_optimizer(optimizer)
    with collection_paused(), progress() as bar:
        bar.step(f"Reading {model.name}")
        forward = load_model(model)
        bar.step("Differentiating")
        graphs = build_graphs(
            forward,
            loss,
            optimizer,
            outputs=outputs or None,
            train=train,
            freeze=freeze,
            inputs=inputs,
        )
        bar.step("Rewriting")
        graphs = graphs.under(chosen, selection=selection, portable=portable, seed=seed)
        made = make_artifacts(graphs, update)
        bar.step(f"Writing {output}")
        save_artifacts(made, output, force=force)
    for warning in (*graphs.notes, *graphs.report.warnings):
        warn(warning)
    graphs.report.warnings.clear()
    console.print(str(graphs.report), highlight=False, markup=False)
    counts = f"{len(made.trained)} parameters, {len(made.statistics)} running statistics"
    for line in (
        f"Trained: {counts}.",
        f"Module takes: {', '.join(made.inputs)}; gives: {', '.join(made.outputs)}.",
        f"Wrote {output}",
    ):
        console.print(line, highlight=False, markup=False)
