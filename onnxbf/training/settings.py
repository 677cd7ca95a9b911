"""What a run of training is: all that its result depends on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from onnxbf.errors import ModelError, SpecError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of ``onnxbf train``, as text and numbers.

    Args:
        model: the file of the forward model.
        data: what is trained on; see ``open_data``.
        validation: what is evaluated on after each epoch.
        loss, metrics, optimizer, schedule, loss_scale: text, see the functions that read it.
        inputs: ``name=value`` of inputs of the model that are constants, see ``FixInputs``.
        outputs: the outputs that the loss is of.
        recipe: what is rounded: the name of a recipe or a file.
        against: a second recipe, trained in step with the first.
        include, exclude, op_types: what narrows the recipe, see ``make_selection``.
        epochs: how often the data is gone through.
        batch_size: examples in a batch.
        accumulate: batches for each update.
        seeds: one training for each; of the order of the data, dropout and stochastic rounding.
        shuffle: whether the order is drawn anew for each epoch.
        drop_last: whether a last, short batch is left out.
        train, freeze: regular expressions of parameters, see ``choose_parameters``.
        weight_update: how weights are kept, see ``parse_weight_update``.
        layers: which layers are trained, and when, see ``parse_layer_policy``; None: all.
        unroll: whether recurrent nodes are taken apart into steps.
        portable: whether roundings are Cast pairs instead of custom operators.
        health_every: steps between measurements of each rounding; 0: none.
        tensorboard: whether event files are written, which TensorBoard draws.
        checkpoint_every: updates between checkpoints; 0: at the end of epochs alone.
        threads: how many ONNX Runtime uses; None: one for each core.
        stop_on_nan: whether a loss that is not finite ends the run.
    """

    model: str
    data: str
    loss: str = "cross-entropy"
    validation: str | None = None
    metrics: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    optimizer: str = "adam"
    schedule: str = "0.001"
    loss_scale: str = "1"
    recipe: str = "bf16"
    against: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    epochs: int = 1
    batch_size: int = 32
    accumulate: int = 1
    seeds: tuple[int, ...] = (0,)
    shuffle: bool = True
    drop_last: bool = False
    train: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    weight_update: str = "fp32_master"
    layers: str | None = None
    unroll: bool = True
    portable: bool = False
    health_every: int = 0
    tensorboard: bool = False
    checkpoint_every: int = 0
    threads: int | None = None
    stop_on_nan: bool = True

    def __post_init__(self) -> None:
        lowest = {"epochs": 1, "batch_size": 1, "accumulate": 1, "health_every": 0}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise SpecError(f"{_option(name)} must be at least {least}.")
        if self.metrics and self.validation is None:
            raise SpecError("--metric is measured on validation data: name it with --validation.")
        if len({*self.seeds}) != len(self.seeds) or not self.seeds:
            raise SpecError("Seeds must be given, and differ from each other.")

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "model_sha256": self.fingerprint()}, indent=2) + "\n"

    def fingerprint(self) -> str:
        """A digest of the model file, by which a resumed run knows its model."""
        try:
            return hashlib.sha256(Path(self.model).read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"Cannot read {self.model!r}: {error.strerror}.") from None


# Without the steps so far being others.
_MAY_CHANGE = frozenset({"epochs", "checkpoint_every", "tensorboard"})


def load_settings(path: Path) -> Settings:
    """What ``to_json`` wrote.

    Raises:
        ModelError: no such file, or not of that form; or the model file is not what it was.
    """
    if not path.is_file():
        raise ModelError(f"There is no run to resume in {str(path.parent)!r}: no {path.name}.")
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fingerprint = values.pop("model_sha256")
        settings = Settings(**{key: _frozen(value) for key, value in values.items()})
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{str(path)!r} does not describe a run: {error}.") from None
    if settings.fingerprint() != fingerprint:
        raise ModelError(
            f"{settings.model!r} is not the model that this run began with: put that one back, or "
            "begin a new run."
        )
    return settings


def check_same(old: Settings, new: Settings) -> None:
    """SpecError where a run cannot go on under other settings than it began with."""
    for field in fields(Settings):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if before != now and field.name not in _MAY_CHANGE:
            raise SpecError(
                f"The run began with {_option(field.name)} {before}, and cannot go on with {now}: "
                "leave the option out, or begin a new run."
            )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _option(name: str) -> str:
    given = name.removesuffix("s") if name in ("inputs", "metrics", "seeds") else name
    return f"--{given}".replace("_", "-")
