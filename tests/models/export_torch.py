"""Exports PyTorch models with its new exporter, `torch.onnx.export(..., dynamo=True)`.

    python tests/models/export_torch.py [NAME...]

Run with Python 3.11 and `pip install torch==2.13.0 transformers==5.24.0 onnx==1.23.2
onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from export_common import Exported, exported, run, table_of
from torch import Tensor, nn
from torch_networks import (
    VOCABULARY,
    Branches,
    Cnn,
    GruRegressor,
    LstmClassifier,
    ResNet,
    UNet,
    as_tuple,
    settle,
)
from torch_transformers import bert, gpt2, llama, text, vision_transformer

BATCH = {0: torch.export.Dim("batch")}
BATCH_AND_LENGTH = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
TEXT = {"input_ids": BATCH_AND_LENGTH, "attention_mask": BATCH_AND_LENGTH}


def export(
    network: nn.Module,
    samples: Mapping[str, Tensor],
    shapes: Mapping[str, Any] | None = None,
    *,
    opset: int = 18,
    **options: Any,
) -> Exported:
    """Exports a network in inference mode; `samples` are its inputs by name."""
    network.eval()
    with torch.no_grad():
        outputs = as_tuple(network(*samples.values()))
    program = torch.onnx.export(
        network,
        tuple(samples.values()),
        input_names=list(samples),
        output_names=[f"output{index}" for index in range(len(outputs))],
        opset_version=opset,
        dynamic_shapes=shapes,
        dynamo=True,
        **options,
    )
    return exported(program.model_proto, samples, outputs)


def torch_cnn() -> Exported:
    """Optimized: batch normalization is folded into the convolutions."""
    network, images = Cnn(), torch.randn(2, 3, 16, 16)
    settle(network, images)
    return export(network, {"images": images}, {"images": BATCH})


def torch_cnn_unoptimized() -> Exported:
    """As the translation left it: batch normalization stands, and so do the detours of shapes."""
    network, images = Cnn(), torch.randn(2, 3, 16, 16)
    settle(network, images)
    return export(network, {"images": images}, optimize=False)


def torch_resnet() -> Exported:
    """Batch of any size; batch normalization stands where no convolution precedes it."""
    network, images = ResNet(), torch.randn(2, 3, 16, 16)
    settle(network, images)
    return export(network, {"images": images}, {"images": BATCH})


def torch_bert() -> Exported:
    """Batch and length of any size; masks by sdpa."""
    return export(bert("sdpa"), text(), TEXT)


def torch_gpt2() -> Exported:
    """Causal, batch and length of any size; the embedding is the head as well."""
    return export(gpt2("sdpa"), text(), TEXT)


def torch_llama() -> Exported:
    """Rotary positions, RMS norms, grouped queries; batch and length of any size."""
    return export(llama(), text(), TEXT)


def torch_vit() -> Exported:
    """A vision transformer at opset 20, with its Gelu."""
    return export(
        vision_transformer(), {"images": torch.randn(2, 3, 16, 16)}, {"images": BATCH}, opset=20
    )


def torch_lstm() -> Exported:
    """LSTM nodes, fixed sizes."""
    return export(LstmClassifier(), {"tokens": torch.randint(0, VOCABULARY, (3, 9))})


def torch_gru() -> Exported:
    """A GRU node with a first state from outside; two outputs, fixed sizes."""
    return export(GruRegressor(), {"series": torch.randn(2, 7, 6), "state": torch.randn(1, 2, 20)})


def torch_unet() -> Exported:
    """ConvTranspose and bilinear Resize at opset 21; batch of any size."""
    return export(UNet(), {"images": torch.randn(2, 1, 16, 16)}, {"images": BATCH}, opset=21)


def torch_control_flow() -> Exported:
    """If and Scan, whose graphs read weights of the graph around them."""
    return export(Branches(), {"series": torch.randn(5, 2, 8)})


MODELS = table_of(
    torch_cnn,
    torch_cnn_unoptimized,
    torch_resnet,
    torch_bert,
    torch_gpt2,
    torch_llama,
    torch_vit,
    torch_lstm,
    torch_gru,
    torch_unet,
    torch_control_flow,
)

if __name__ == "__main__":
    run(MODELS, torch.manual_seed)
