"""Trains the networks behind exported models in PyTorch, and saves what that gives.

    python tests/models/export_training.py [NAME...]

For each network `training/NAME.npz` holds batches, labels, the loss of every step in float32, and
the gradients of the first step in float64, under the names of the model's initializers. Networks
with batch normalization are in training mode; the others have dropout, which is off.

Run with Python 3.11 and `pip install torch==2.13.0 transformers==5.24.0 onnx==1.23.2
numpy==2.4.6`.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional
from torch_networks import VOCABULARY, Cnn, GruRegressor, LstmClassifier, UNet, as_tuple, settle
from torch_transformers import bert, gpt2, llama, text, vision_transformer

FOLDER = Path(__file__).parent
STEPS, BATCHES = 20, 4
RATE, MOMENTUM = 0.05, 0.9
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A network as its export script made it, and how its batches are drawn.

    The loss is cross entropy, or without classes the squared error of the first output.
    """

    network: Callable[[], nn.Module]
    draw: Callable[[int], Inputs]
    classes: int
    size: int
    training: bool = False
    lost: str = "^$"  # finds the biases of zeros that the exporter left out: they are not trained


def settled(make: type[nn.Module]) -> Callable[[], nn.Module]:
    def network() -> nn.Module:
        made = make()
        settle(made, torch.randn(2, 3, 16, 16))
        return made

    return network


def lstm_after_its_sample() -> nn.Module:
    """As its export script made it: the sample was drawn before the weights."""
    torch.randint(0, VOCABULARY, (3, 9))
    return LstmClassifier()


def images(size: int) -> Inputs:
    return {"images": torch.randn(size, 3, 16, 16)}


def words(size: int) -> Inputs:
    first = text()
    return {name: value.repeat(size // 2, 1) for name, value in first.items()} | {
        "input_ids": torch.randint(1, VOCABULARY, (size, 7))  # 0 pads: PyTorch never trains it
    }


def tokens(size: int) -> Inputs:
    return {"tokens": torch.randint(0, VOCABULARY, (size, 9))}


def series(size: int) -> Inputs:
    return {"series": torch.randn(size, 7, 6), "state": torch.randn(1, size, 20)}


def grey_images(size: int) -> Inputs:
    return {"images": torch.randn(size, 1, 16, 16)}


CASES = {
    "torch_bert": Case(lambda: bert("sdpa"), words, 24, 8, lost=r"pooler\.dense\.bias"),
    "torch_cnn_unoptimized": Case(settled(Cnn), images, 10, 2, training=True),
    "torch_gpt2": Case(lambda: gpt2("sdpa"), words, VOCABULARY, 8, lost=r"(attn|mlp)\.\w+\.bias"),
    "torch_gru": Case(GruRegressor, series, 0, 2),
    "torch_llama": Case(llama, words, VOCABULARY, 8),
    "torch_lstm": Case(LstmClassifier, tokens, 4, 3),
    "torch_unet": Case(UNet, grey_images, 0, 2),
    "torch_vit": Case(vision_transformer, images, 5, 8, lost=r"(projection|classifier)\.bias"),
    "torchscript_gru": Case(GruRegressor, series, 0, 2),
    "torchscript_lstm": Case(lstm_after_its_sample, tokens, 4, 3),
}


def main() -> None:
    (FOLDER / "training").mkdir(exist_ok=True)
    for name in sys.argv[1:] or CASES:
        arrays = train(name, CASES[name])
        np.savez_compressed(FOLDER / "training" / f"{name}.npz", allow_pickle=False, **arrays)
        gradients = sum(key.startswith("gradient/") for key in arrays)
        losses = arrays["losses"]
        sys.stdout.write(f"{name}: {losses[0]:.4f} to {losses[-1]:.4f}, {gradients} gradients\n")


def train(name: str, case: Case) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    network = case.network()
    network.train(case.training)
    for parameter, value in network.named_parameters():
        value.requires_grad_(re.search(case.lost, parameter) is None)
    names = initializers(name, network)
    batches = [case.draw(case.size) for _ in range(BATCHES)]
    with torch.no_grad():
        shape = as_tuple(network(*batches[0].values()))[0].shape
    labels = [draw_labels(case.classes, shape) for _ in range(BATCHES)]
    arrays = {f"labels/{k}": value.numpy() for k, value in enumerate(labels)}
    for k, batch in enumerate(batches):
        arrays |= {f"input/{key}/{k}": value.numpy() for key, value in batch.items()}
    arrays |= gradients(name, copy.deepcopy(network).double(), batches[0], labels[0], names)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        value = loss(network, batches[step % BATCHES], labels[step % BATCHES])
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return arrays | {"losses": np.array(losses)}


def draw_labels(classes: int, shape: torch.Size) -> Tensor:
    return torch.randint(0, classes, shape[:-1]) if classes else torch.rand(shape)


def loss(network: nn.Module, batch: Inputs, labels: Tensor) -> Tensor:
    logits = as_tuple(network(*batch.values()))[0]
    if labels.is_floating_point():
        return functional.mse_loss(logits, labels.to(logits.dtype))
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


def initializers(name: str, network: nn.Module) -> dict[str, tuple[str, bool]]:
    """For each parameter the initializer that holds it, and whether transposed.

    Parameters that an exporter folded into others have none; neither do those whose elements are
    all equal, since several have the same.
    """
    model = onnx.load(FOLDER / f"{name}.onnx")
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {}
    for parameter, value in network.named_parameters():
        array = value.detach().numpy()
        if np.all(array == array.flat[0]):
            continue
        for key, other in reversed(held.items()):
            if other.ndim == 2 and np.array_equal(other.T, array):
                found[parameter] = (key, True)
        for key, other in held.items():
            if np.array_equal(other, array):
                found[parameter] = (key, False)
    return found


def gradients(
    name: str, network: nn.Module, batch: Inputs, labels: Tensor, names: dict[str, tuple[str, bool]]
) -> dict[str, np.ndarray]:
    exact = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    loss(network, exact, labels).backward()
    found = recurrent_gradients(name, network)
    for parameter, value in network.named_parameters():
        if parameter in names and value.grad is not None:
            key, transposed = names[parameter]
            array = value.grad.numpy()
            found[f"gradient/{key}"] = array.T if transposed else array
    return found


def recurrent_gradients(name: str, network: nn.Module) -> dict[str, np.ndarray]:
    """The gradients of what ONNX makes of the weights of LSTM and GRU layers."""
    model = onnx.load(FOLDER / f"{name}.onnx")
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {}
    for module in network.modules():
        if isinstance(module, nn.RNNBase):
            pairs = zip(onnx_weights(module, False), onnx_weights(module, True))
            for values, slopes in pairs:
                key = next(k for k, v in held.items() if np.array_equal(v, values.astype("f4")))
                found[f"gradient/{key}"] = slopes
    return found


def onnx_weights(module: nn.RNNBase, gradient: bool) -> Iterator[np.ndarray]:
    """W, R and B of each layer: of all directions, the gates in ONNX's order."""
    order = (0, 3, 1, 2) if isinstance(module, nn.LSTM) else (1, 0, 2)  # of i f g o and r z n

    def ordered(parameter: str) -> np.ndarray:
        value = getattr(module, parameter)
        gates = np.split((value.grad if gradient else value).detach().numpy(), len(order))
        return np.concatenate([gates[index] for index in order])

    ends = ("", "_reverse") if module.bidirectional else ("",)
    for layer in range(module.num_layers):
        for kinds in (["weight_ih"], ["weight_hh"], ["bias_ih", "bias_hh"]):
            sides = [[ordered(f"{kind}_l{layer}{end}") for kind in kinds] for end in ends]
            yield np.stack([np.concatenate(parts) for parts in sides])


if __name__ == "__main__":
    main()
