"""``onnxbf compose``: two models in one, so that one loss trains both."""

from __future__ import annotations

from pathlib import Path

import click

from onnxbf.cli.console import console, progress, warn
from onnxbf.cli.options import examples


@click.command(
    "compose",
    epilog=examples(
        "onnxbf compose image.onnx text.onnx -o both.onnx",
        "onnxbf compose image.onnx text.onnx --names image,text --loss info-nce -o both.onnx",
        "onnxbf train both.onnx --data pairs.npz --loss 'info-nce{temperature=0.1}' -o run",
    ),
)
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write."
)
@click.option(
    "--names",
    metavar="A,B",
    default="first,second",
    show_default=True,
    help="What the models' weights, nodes, and inputs of one name are called by: A/..., B/...",
)
@click.option(
    "--loss",
    metavar="NAME{KEY=VALUE,...}",
    help="Add a loss of both models' outputs, as an output 'loss': info-nce{temperature=0.5}.",
)
@click.option(
    "--outputs",
    multiple=True,
    metavar="NAME",
    help="The outputs that the loss is of, where there are more than two; may be repeated.",
)
@click.option("--force", is_flag=True, help="Allow to write over one of the models.")
def command(
    first: Path,
    second: Path,
    output: Path,
    names: str,
    loss: str | None,
    outputs: tuple[str, ...],
    force: bool,
) -> None:
    """Put the models FIRST and SECOND side by side into one, which is then trained as one.

    Inputs and outputs keep their names unless both models have them. The first dimension of every
    input is the batch: row for row, the inputs of both models belong together.
    """
    from onnxbf.errors import SpecError, UnsupportedError
    from onnxbf.files import check_file, check_target, load_model, save_model
    from onnxbf.graph import collection_paused
    from onnxbf.training.composition import compose
    from onnxbf.training.losses import attach_loss

    if outputs and loss is None:
        raise SpecError("--outputs says what the loss is of: name that with --loss.")
    for path in (first, second):
        check_file(path)
        if not force and output.exists() and output.samefile(path):
            raise UnsupportedError(
                f"The output {str(output)!r} is one of the models: name another, or use --force."
            )
    check_target(output)
    with collection_paused(), progress() as bar:
        bar.step(f"Reading {first.name} and {second.name}")
        models = load_model(first), load_model(second)
        bar.step("Composing")
        both = compose(*models, names=[name.strip() for name in names.split(",")])
        notes = () if loss is None else attach_loss(both, loss, outputs=outputs or None).notes
        bar.step(f"Writing {output.name}")
        save_model(both, output, progress=bar.count)
    for note in notes:
        warn(note)
    for title, values in (("Inputs", both.graph.inputs), ("Outputs", both.graph.outputs)):
        _say(f"{title}: {', '.join(value.name or '' for value in values)}")
    _say(f"Wrote {output}")


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False)
