"""``onnxbf train``: train under a recipe, and under its baseline in step with it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from onnxbf.cli.console import console, progress, warn
from onnxbf.cli.options import examples, recipe_options
from onnxbf.training.settings import Settings

if TYPE_CHECKING:
    from onnxbf.training.run import Run

_DEFAULTS = {field.name: field.default for field in fields(Settings)}
_INTERRUPTED = 130  # as shells report SIGINT
_STOPPING = (signal.SIGINT, signal.SIGTERM)


def _option(declaration: str, name: str, text: str, **more: Any) -> Any:
    """An option that sets ``name`` of the settings, with the default that it has there."""
    default = _DEFAULTS[name]
    shown = default is not None and default != () and not isinstance(default, bool)
    return click.option(declaration, name, default=default, show_default=shown, help=text, **more)


_OPTIONS = (
    click.option(
        "--data",
        metavar="DATA",
        help="An .npz or .npy file, a folder of .npy files or of Hugging Face datasets, or "
        "module:function.",
    ),
    _option(
        "--input",
        "inputs",
        "A constant for an input that the data lacks: training=true, state=0, mask=[1,0].",
        multiple=True,
        metavar="NAME=VALUE",
    ),
    _option("--validation", "validation", "Data to evaluate on after each epoch.", metavar="DATA"),
    _option(
        "--loss",
        "loss",
        "adversarial, bce-with-logits, cross-entropy, huber, info-nce, l1, mse, or output: the "
        "model's own. Options in braces: cross-entropy{label_smoothing=0.1}.",
        metavar="LOSS",
    ),
    _option(
        "--outputs", "outputs", "The outputs that the loss is of.", multiple=True, metavar="NAME"
    ),
    _option(
        "--metric",
        "metrics",
        "Measured on the validation data: accuracy, top-k, auc, perplexity, confidence, "
        "confidence-deviation, class-confidence-deviation, retrieval, psnr, mse, mae.",
        multiple=True,
        metavar="METRIC",
    ),
    _option(
        "--optimizer",
        "optimizer",
        "sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw, lamb or lion; options in braces: "
        "adamw{weight_decay=0.01,clip_norm=1}.",
        metavar="OPTIMIZER",
    ),
    _option(
        "--schedule",
        "schedule",
        "The learning rate, or how it changes: constant, linear, polynomial, cosine, exponential, "
        "piecewise, one-cycle, warm-up, joined, epochs, or one of LRBench's: FIX, STEP, NSTEP, "
        "EXP, INV, POLY, SIG, TRI, TRI2, TRIEXP, SIN, SIN2, SINEXP, COS, COS2, COSEXP, PLATEAU.",
        metavar="SCHEDULE",
    ),
    _option("--loss-scale", "loss_scale", "A power of two, or dynamic.", metavar="SCALE"),
    _option("--against", "against", "A second recipe, trained in step.", metavar="NAME|FILE"),
    _option("--epochs", "epochs", "How often to go through the data.", type=int),
    _option("--batch-size", "batch_size", "Examples in a batch.", type=int),
    _option("--accumulate", "accumulate", "Batches for each update.", type=int),
    _option("--seed", "seeds", "One training for each that is given.", type=int, multiple=True),
    _option("--shuffle/--no-shuffle", "shuffle", "Whether each epoch has an order of its own."),
    _option("--drop-last", "drop_last", "Leave out a last, short batch.", is_flag=True),
    _option(
        "--train", "train", "Also train what this is found in.", multiple=True, metavar="REGEX"
    ),
    _option(
        "--freeze", "freeze", "Do not train what this is found in.", multiple=True, metavar="REGEX"
    ),
    _option(
        "--weight-update",
        "weight_update",
        "How weights are kept: fp32_master, nearest, stochastic, kahan, split_sgd, mcf_light, "
        "mcf_plus; options in braces: nearest{format=bf16,states=fp32}.",
        metavar="RULE",
    ),
    _option(
        "--layers",
        "layers",
        "Train some layers only: static{bottom=1,top=1}, or most of the time: "
        "probabilistic{p=0.2,top=1}.",
        metavar="POLICY",
    ),
    _option(
        "--unroll/--whole", "unroll", "Round every step of recurrent layers, or only around them."
    ),
    _option("--portable", "portable", "Round by Cast pairs, not by our kernels.", is_flag=True),
    _option(
        "--health-every",
        "health_every",
        "Steps between measurements of every rounding: overflow, underflow, NaN, noise. 0: none.",
        type=int,
    ),
    _option(
        "--tensorboard/--no-tensorboard",
        "tensorboard",
        "Whether to write event files, for: tensorboard --logdir RUN/tensorboard.",
    ),
    _option(
        "--checkpoint-every",
        "checkpoint_every",
        "Updates between checkpoints. 0: after epochs alone.",
        type=int,
    ),
    _option("--threads", "threads", "How many ONNX Runtime uses; one a core by default.", type=int),
    _option(
        "--stop-on-nan/--go-on", "stop_on_nan", "Whether a loss that is not finite ends the run."
    ),
)


def _options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    "train",
    epilog=examples(
        "onnxbf train model.onnx --data train.npz --against none -o run",
        "onnxbf train model.onnx --data train.npz --validation test.npz --epochs 12 \\",
        '    --optimizer "sgd{momentum=0.9}" --schedule "SIN{k0=0.01,k1=0.1,l=20}" \\',
        "    --recipe bf16 --against none --seed 0 --seed 1 --seed 2 -o run",
        "onnxbf train --resume -o run",
    ),
)
@click.argument("model", required=False)
@_options
@recipe_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The run's folder."
)
@click.option("--resume", is_flag=True, help="Go on with the run in that folder.")
@click.pass_context
def command(ctx: click.Context, /, output: Path, resume: bool, **options: Any) -> None:
    """Train MODEL under a recipe, and with --against under a second one in step with it.

    Both see the same batches in the same order, from the same initial weights. The end is a
    verdict: how far apart they are, and whether several seeds explain that.
    """
    from onnxbf.cli.training_report import Report
    from onnxbf.training.run import Run, Stopped

    run = Run(_settings(ctx, options, output, resume), output, resume=resume)
    for note in run.notes:
        warn(note)
    stopped = False
    with progress() as bar, _stopping(run):
        report = Report(run.settings, bar)
        for event in run.events():
            report.show(event)
            stopped = stopped or isinstance(event, Stopped)
    if stopped:
        ctx.exit(_INTERRUPTED)
    console.print(f"Wrote {output}", highlight=False, markup=False)


def _settings(ctx: click.Context, options: dict[str, Any], output: Path, resume: bool) -> Settings:
    """What the command line says; what it leaves open, a run that is resumed has said."""
    from dataclasses import replace

    from onnxbf.training.run import SETTINGS
    from onnxbf.training.settings import load_settings

    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    if resume:
        said = {k: v for k, v in given.items() if _is_said(ctx, k)}
        return replace(load_settings(output / SETTINGS), **said)
    for name, text in (
        ("model", "Missing argument 'MODEL'."),
        ("data", "Missing option '--data'."),
    ):
        if given[name] is None:
            raise click.UsageError(text, ctx)
    return Settings(**given)


def _is_said(ctx: click.Context, name: str) -> bool:
    unsaid = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)
    return ctx.params[name] is not None and ctx.get_parameter_source(name) not in unsaid


@contextlib.contextmanager
def _stopping(run: Run) -> Iterator[None]:
    """Have the first SIGINT or SIGTERM stop the run where it can be resumed; a second one kills."""

    def stop(number: int, _: FrameType | None) -> None:
        run.stop()
        signal.signal(number, before[number])

    before = {int(number): signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
