"""Exports PyTorch models with its older exporter, `torch.onnx.export(..., dynamo=False)`.

    python tests/models/export_torchscript.py [NAME...]

Run with Python 3.11 and `pip install torch==2.13.0 transformers==5.24.0 onnx==1.23.2
onnxruntime==1.32.0 numpy==2.4.6`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from export_common import Exported, exported, run, table_of
from torch import Tensor, nn
from torch_networks import (
    VOCABULARY,
    ControlFlow,
    GruRegressor,
    LstmClassifier,
    ResNet,
    UNet,
    as_tuple,
    settle,
)
from torch_transformers import bert, gpt2, text

BATCH = {0: "batch"}
BATCH_AND_LENGTH = {0: "batch", 1: "length"}


def export(
    network: nn.Module,
    samples: Mapping[str, Tensor],
    axes: Mapping[str, Mapping[int, str]] | None = None,
    *,
    opset: int,
    **options: Any,
) -> Exported:
    """Exports a network in inference mode; `samples` are its inputs by name."""
    network.eval()
    with torch.no_grad():
        outputs = as_tuple(network(*samples.values()))
    file = io.BytesIO()
    torch.onnx.export(
        network,
        tuple(samples.values()),
        file,
        input_names=list(samples),
        output_names=[f"output{index}" for index in range(len(outputs))],
        opset_version=opset,
        dynamic_axes=axes,
        dynamo=False,
        **options,
    )
    return exported(onnx.load_from_string(file.getvalue()), samples, outputs)


def torchscript_resnet() -> Exported:
    """Batch of any size, opset 13."""
    network, images = ResNet(), torch.randn(2, 3, 16, 16)
    settle(network, images)
    return export(network, {"images": images}, {"images": BATCH, "output0": BATCH}, opset=13)


def torchscript_bert() -> Exported:
    """Shapes by Shape and Gather, batch and length of any size."""
    axes = {"input_ids": BATCH_AND_LENGTH, "attention_mask": BATCH_AND_LENGTH, "output0": BATCH}
    return export(bert("eager"), text(), axes, opset=17)


def torchscript_gpt2() -> Exported:
    """LayerNormalization in pieces, since opset 14 has none; fixed sizes."""
    return export(gpt2("eager"), text(), opset=14)


def torchscript_lstm() -> Exported:
    """LSTM nodes with first states made by ConstantOfShape; batch of any size."""
    tokens = torch.randint(0, VOCABULARY, (3, 9))
    axes = {"tokens": BATCH_AND_LENGTH, "output0": BATCH}
    return export(LstmClassifier(), {"tokens": tokens}, axes, opset=15)


def torchscript_gru() -> Exported:
    """A GRU node with a first state from outside; two outputs, fixed sizes."""
    return export(
        GruRegressor(), {"series": torch.randn(2, 7, 6), "state": torch.randn(1, 2, 20)}, opset=16
    )


def torchscript_unet() -> Exported:
    """ConvTranspose and bilinear Resize at opset 11."""
    axes = {"images": BATCH, "output0": BATCH}
    return export(UNet(), {"images": torch.randn(2, 1, 16, 16)}, axes, opset=11)


def torchscript_control_flow() -> Exported:
    """Loops and Ifs inside each other, from a scripted module."""
    return export(
        torch.jit.script(ControlFlow()),
        {"features": torch.randn(4, 8), "steps": torch.tensor(5)},
        opset=17,
    )


def torchscript_functions() -> Exported:
    """A function for each of the network's modules, and for those inside them."""
    network, images = ResNet(), torch.randn(2, 3, 16, 16)
    settle(network, images)
    return export(network, {"images": images}, opset=15, export_modules_as_functions=True)


MODELS = table_of(
    torchscript_resnet,
    torchscript_bert,
    torchscript_gpt2,
    torchscript_lstm,
    torchscript_gru,
    torchscript_unet,
    torchscript_control_flow,
    torchscript_functions,
)

if __name__ == "__main__":
    run(MODELS, torch.manual_seed)
