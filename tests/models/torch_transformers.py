"""The transformers that `export_torch.py` and `export_torchscript.py` export, and a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_networks import VOCABULARY
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

WEIGHT_SPREAD = 0.2  # of transformers: their own 0.02 makes next to nothing of few units


class Field(nn.Module):
    """A `transformers` model of which one field of the result is wanted."""

    def __init__(self, model: nn.Module, field: str, **options: Any) -> None:
        super().__init__()
        self.model = model
        self.field = field
        self.options = options


class TextField(Field):
    """`Field` of a model that reads text."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        result = self.model(input_ids=input_ids, attention_mask=attention_mask, **self.options)
        return result[self.field]


class ImageField(Field):
    """`Field` of a model that reads images."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(pixel_values=images, **self.options)[self.field]


def bert(attention: str) -> nn.Module:
    """BERT of two layers; `attention` is "eager" or "sdpa"."""
    config = BertConfig(
        initializer_range=WEIGHT_SPREAD,
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=32,
        attn_implementation=attention,
    )
    return TextField(BertModel(config), "pooler_output")


def gpt2(attention: str) -> nn.Module:
    """GPT-2 of two layers, its embedding tied to its head."""
    config = GPT2Config(
        initializer_range=WEIGHT_SPREAD,
        vocab_size=VOCABULARY,
        n_positions=32,
        n_embd=24,
        n_layer=2,
        n_head=4,
        attn_implementation=attention,
    )
    return TextField(GPT2LMHeadModel(config), "logits", use_cache=False)


def llama() -> nn.Module:
    """Llama of two layers: rotary positions, RMS norms, grouped queries, SwiGLU."""
    config = LlamaConfig(
        initializer_range=WEIGHT_SPREAD,
        vocab_size=VOCABULARY,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        attn_implementation="sdpa",
    )
    return TextField(LlamaForCausalLM(config), "logits", use_cache=False)


def vision_transformer() -> nn.Module:
    """A vision transformer of two layers on 4 by 4 patches."""
    config = ViTConfig(
        initializer_range=WEIGHT_SPREAD,
        image_size=16,
        patch_size=4,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        num_labels=5,
    )
    return ImageField(ViTForImageClassification(config), "logits")


def text() -> dict[str, Tensor]:
    """Token ids and a mask that leaves out the end of the second text."""
    mask = torch.ones(2, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    return {"input_ids": torch.randint(0, VOCABULARY, (2, 7)), "attention_mask": mask}
