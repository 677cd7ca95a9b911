"""The PyTorch networks that `export_torch.py` and `export_torchscript.py` export."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional

VOCABULARY = 96


class Cnn(nn.Module):
    """Convolution, batch normalization, ReLU and pooling, three times, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out in ((3, 8), (8, 12), (12, 16)):
            layers.append(nn.Conv2d(channels_in, channels_out, 3, padding=1))
            layers.append(nn.BatchNorm2d(channels_out))
            layers.append(nn.ReLU())
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(16 * 2 * 2, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).flatten(1))


class Residual(nn.Module):
    """A residual block that normalizes before it convolves, as in ResNet v2."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        active = functional.relu(self.norm1(features))
        branch = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        return self.shortcut(active) + branch


class ResNet(nn.Module):
    """A stem with batch normalization, three residual blocks, average pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.blocks = nn.Sequential(Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 16, 1))
        self.norm = nn.BatchNorm2d(16)
        self.classifier = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.relu(self.norm(self.blocks(self.stem(images))))
        return self.classifier(functional.adaptive_avg_pool2d(features, 1).flatten(1))


class UNet(nn.Module):
    """Two levels down, then up by ConvTranspose and by bilinear Resize, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, 8, 3, padding=1)
        self.down2 = nn.Conv2d(8, 12, 3, padding=1)
        self.bottom = nn.Conv2d(12, 16, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(16, 12, 2, stride=2)
        self.merge2 = nn.Conv2d(24, 12, 3, padding=1)
        self.merge1 = nn.Conv2d(20, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        level1 = functional.leaky_relu(self.down1(images), 0.1)
        level2 = functional.leaky_relu(self.down2(functional.max_pool2d(level1, 2)), 0.1)
        bottom = functional.silu(self.bottom(functional.avg_pool2d(level2, 2)))
        up2 = functional.relu(self.merge2(torch.cat((self.up2(bottom), level2), 1)))
        wide = functional.interpolate(up2, scale_factor=2.0, mode="bilinear", align_corners=False)
        up1 = functional.relu(self.merge1(torch.cat((wide, level1), 1)))
        return torch.sigmoid(self.head(up1))


class LstmClassifier(nn.Module):
    """Embedding, a bidirectional LSTM of two layers, and a linear layer on its last states."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 12)
        self.lstm = nn.LSTM(12, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.classifier = nn.Linear(24, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(self.embedding(tokens))
        return self.classifier(torch.cat((hidden[-2], hidden[-1]), 1)).log_softmax(1)


class GruRegressor(nn.Module):
    """A GRU over a series, from a given first state; one number for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 20, batch_first=True)
        self.norm = nn.LayerNorm(20)
        self.head = nn.Linear(20, 1)

    def forward(self, series: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        steps, last = self.gru(series, state)
        return self.head(self.norm(steps)), last


class ControlFlow(nn.Module):
    """Scripted: a Loop with an If inside it, a Loop that its data ends, and a top-level If."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(8, 16)
        self.step = nn.Linear(16, 16)
        self.damp = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, features: Tensor, steps: Tensor) -> Tensor:
        state = torch.tanh(self.encode(features))
        for index in range(int(steps)):
            if index % 2 == 0:
                state = torch.tanh(self.step(state))
            else:
                state = state + 0.5 * torch.sigmoid(self.damp(state))
        while bool(state.abs().max() > 0.5):
            state = 0.75 * self.damp(state) * 0.5
        if bool(state.sum() > 0):
            return self.head(state)
        return self.head(-state)


class Branches(nn.Module):
    """A branch by torch.cond and a recurrence by torch's scan, for torch.export."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(8, 16)
        self.narrow = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 16))
        self.step = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, series: Tensor) -> Tensor:
        encoded = torch.cond(series.mean() > 0, self.wide, self.narrow, (series,))
        first = torch.zeros_like(encoded[0])
        _, states = scan(self.advance, first, encoded)
        return self.head(states)

    def advance(self, state: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.tanh(self.step(state) + encoded)
        return state, state.clone()


def as_tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a network returned, as a tuple of tensors."""
    return (result,) if isinstance(result, Tensor) else result


def settle(network: nn.Module, images: Tensor) -> None:
    """Gives batch normalization statistics and scales that are not those of a fresh layer."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    network.train()
    for _ in range(20):
        network(images)
