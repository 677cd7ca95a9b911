"""Single gradient nodes with data: what their kernels are tested on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tests.gradient_case import Arrays, Case, evaluate, normal


def _relu() -> list[Case]:
    return [
        Case(
            str(shape),
            "ReluGrad",
            {"dy": normal(0, *shape), "x": normal(1, *shape)},
            ("dx",),
            lambda feeds: {"dx": np.zeros_like(feeds["dy"])},
            exact=True,
        )
        for shape in ((), (1,), (0, 3), (37,), (3, 5, 7, 11), (70_001,))
    ]


_CONVOLUTIONS: dict[str, tuple[list[int], list[int], dict[str, Any]]] = {
    "cnn": ([5, 3, 32, 32], [16, 3, 3, 3], {"pads": [1, 1, 1, 1]}),
    "small images": ([19, 8, 7, 7], [33, 8, 3, 3], {"pads": [1, 1, 1, 1]}),
    "strides": ([3, 5, 11, 10], [70, 5, 3, 3], {"strides": [2, 3], "pads": [2, 1, 0, 1]}),
    "strides beyond the kernel": ([2, 4, 9, 8], [8, 4, 1, 2], {"strides": [3, 4]}),
    "groups": ([2, 8, 9, 8], [12, 2, 3, 2], {"group": 4, "pads": [1, 0, 2, 1]}),
    "dilations": ([2, 13, 40, 21], [17, 13, 3, 3], {"dilations": [1, 2], "pads": [1, 2, 1, 2]}),
    "many maps": ([1, 4, 6, 6], [300, 4, 1, 1], {}),
    "1-D": ([2, 3, 50], [9, 3, 5], {"strides": [2], "dilations": [2], "pads": [3, 1]}),
    "3-D": ([1, 2, 6, 7, 8], [9, 2, 2, 3, 3], {"strides": [1, 2, 1], "pads": [1, 1, 1, 0, 1, 1]}),
    "same upper": ([2, 3, 9, 8], [8, 3, 4, 3], {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    "same lower": ([2, 3, 9, 8], [8, 3, 4, 3], {"auto_pad": "SAME_LOWER"}),
    "wide": ([1, 3, 5, 700], [8, 3, 3, 3], {"pads": [1, 1, 1, 1]}),
    "no image": ([0, 3, 5, 5], [8, 3, 3, 3], {}),
}
_PEERLESS = {
    "same upper": "its gradient pads nothing where auto_pad is set",
    "same lower": "its gradient pads nothing where auto_pad is set",
    "no image": "it divides by zero",
}
_ASKED = {
    "all": ("dx", "dw", "db"),
    "input": ("dx",),
    "weights": ("", "dw", "db"),
    "weights alone": ("", "dw"),
}


def _convolution(name: str, asked: str) -> Case:
    x, w, attributes = _CONVOLUTIONS[name]
    out = [
        -(-size // step)
        if "auto_pad" in attributes
        else (size + before + after - gap * (taps - 1) - 1) // step + 1
        for size, taps, step, gap, before, after in zip(
            x[2:],
            w[2:],
            attributes.get("strides", [1] * 3),
            attributes.get("dilations", [1] * 3),
            attributes.get("pads", [0] * 6)[: len(x) - 2],
            attributes.get("pads", [0] * 6)[len(x) - 2 :],
        )
    ]
    feeds = {"dy": normal(0, x[0], w[0], *out), "x": normal(1, *x), "w": normal(2, *w)}
    terms = max(int(np.prod(w)) // w[1], x[0] * int(np.prod(out)))

    def magnitudes(feeds: Arrays) -> Arrays:
        """The same sums of absolute values."""
        absolute = {key: np.abs(array) for key, array in feeds.items()}
        return evaluate(Case(name, "ConvGrad", absolute, _ASKED[asked], magnitudes, attributes))

    return Case(
        f"{name}, {asked}",
        "ConvGrad",
        feeds,
        _ASKED[asked],
        magnitudes,
        attributes,
        terms,
        peerless=_PEERLESS.get(name, ""),
    )


_GATHERED: dict[str, tuple[list[int], list[int], int]] = {
    "embedding": ([50, 33], [4, 9], 0),
    "hot rows": ([3, 8], [700], 0),
    "middle axis": ([2, 5, 3, 4], [2, 3], 1),
    "last axis": ([6, 7], [11], -1),
    "scalar index": ([4, 5], [], 1),
    "no index": ([4, 5], [0], 0),
    "wide": ([2, 9000], [3], 0),
}


def _gather(name: str) -> Case:
    shape, taken, axis = _GATHERED[name]
    at = axis % len(shape)
    indices = np.random.default_rng(0).integers(-shape[at], shape[at], taken)
    feeds = {
        "shape": np.array(shape),
        "indices": np.asarray(indices),
        "dy": normal(1, *shape[:at], *taken, *shape[at + 1 :]),
    }

    def magnitudes(feeds: Arrays) -> Arrays:
        absolute = {**feeds, "dy": np.abs(feeds["dy"])}
        return evaluate(Case(name, "GatherGrad", absolute, ("dx",), magnitudes, {"axis": axis}))

    terms = int(np.prod(taken))
    return Case(name, "GatherGrad", feeds, ("dx",), magnitudes, {"axis": axis}, terms)


def _layer_norm(*shape: int, axis: int = -1, asked: str = "all") -> Case:
    x, dy = normal(0, *shape) * np.float32(3) + np.float32(1), normal(1, *shape)
    inner = tuple(range(axis % len(shape), len(shape)))
    deviation = 1 / np.sqrt(x.var(inner, keepdims=True, dtype=np.float64) + 1e-5)
    feeds = {
        "dy": dy,
        "x": x,
        "scale": normal(2, *shape[axis % len(shape) :]),
        "mean": x.mean(inner, keepdims=True),
        "inverse_deviation": deviation.astype(np.float32),
    }

    def magnitudes(feeds: Arrays) -> Arrays:
        normal = np.abs((x - feeds["mean"]) * deviation)
        scaled = np.abs(dy * feeds["scale"])
        shifts = scaled.mean(inner, keepdims=True)
        shifts = shifts + normal * (scaled * normal).mean(inner, keepdims=True)
        outer = tuple(range(axis % len(shape)))
        return {
            "dx": (scaled + shifts) * deviation,
            "dscale": (np.abs(dy) * normal).sum(outer),
            "dbias": np.abs(dy).sum(outer),
        }

    outputs = {"all": ("dx", "dscale", "dbias"), "weights": ("", "dscale", "dbias")}[asked]
    return Case(
        f"{shape}, {axis}, {asked}",
        "LayerNormalizationGrad",
        feeds,
        outputs,
        magnitudes,
        {"axis": axis},
        int(np.prod(shape)),
        peerless="" if asked == "all" else "its outputs are not optional",
    )


def _normalized(*shape: int, axis: int = -1, asked: int = 3, has_bias: bool = True) -> Case:
    feeds = {
        "x": normal(0, *shape) * np.float32(3) + np.float32(1),
        "scale": normal(2, *shape[axis % len(shape) :]),
        **({"bias": normal(3, *shape[axis % len(shape) :])} if has_bias else {}),
    }

    def magnitudes(feeds: Arrays) -> Arrays:
        inner = tuple(range(axis % len(shape), len(shape)))
        inverse = evaluate(replace(case, outputs=("y", "mean", "inverse")))["inverse"]
        largest = np.abs(feeds["x"]).max(inner, keepdims=True)
        return {
            "y": 2 * largest * inverse * np.abs(feeds["scale"]) + np.abs(feeds.get("bias", 0)),
            "mean": largest,
            "inverse": inverse * (1 + largest**2 * inverse**2),
        }

    name, outputs = f"{shape}, {axis}, {asked}, {has_bias}", ("y", "mean", "inverse")[:asked]
    case = Case(name, "LayerNormalization", feeds, outputs, magnitudes, {"axis": axis}, terms=8)
    return case


def _softmax(*shape: int, axis: int = -1) -> Case:
    scores = normal(0, *shape).astype(np.float64) * 4
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    feeds = {"dy": normal(1, *shape), "y": shares.astype(np.float32)}

    def magnitudes(feeds: Arrays) -> Arrays:
        dy, y = np.abs(feeds["dy"]), feeds["y"]
        return {"dx": y * (dy + (dy * y).sum(-1, keepdims=True))}

    attributes = {"axis": axis}
    return Case(f"{shape}, {axis}", "SoftmaxGrad_13", feeds, ("dx",), magnitudes, attributes)


def _sum(*shape: int, axes: int, keepdims: int = 0) -> Case:
    feeds = {"dy": normal(0, *shape), "axes": np.arange(axes)}

    def magnitudes(feeds: Arrays) -> Arrays:
        return {"db": np.abs(feeds["dy"]).sum(tuple(range(axes)), keepdims=bool(keepdims))}

    name, attributes = f"{shape}, {axes}", {"keepdims": keepdims}
    terms = int(np.prod(shape[:axes]))
    return Case(name, "ReduceSum", feeds, ("db",), magnitudes, attributes, terms)


_POOLED: dict[str, tuple[list[int], dict[str, Any]]] = {
    "halves": ([3, 5, 32, 32], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "halves of odd images": ([2, 3, 7, 17], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "every other number": ([3, 5, 7, 7], {"kernel_shape": [1, 1], "strides": [2, 2]}),
    "small images": ([2, 70, 4, 4], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "overlapping": (
        [2, 3, 21, 19],
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "dense": ([1, 2, 9, 150], {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1]}),
    "strides beyond the kernel": ([1, 2, 17, 23], {"kernel_shape": [2, 1], "strides": [5, 3]}),
    "one window": ([2, 3, 6, 7], {"kernel_shape": [6, 7]}),
    "no image": ([0, 3, 4, 4], {"kernel_shape": [2, 2]}),
    "of a program": (
        [3, 70, 18, 14],
        {
            "kernel_shape": [3, 2],
            "strides": [2, 2],
            "pads": [1, 0, 1, 1],
            "program": "e4m3fn:rne t0 x0; Relu y0 t0",
        },
    ),
}


def _pool(name: str) -> Case:
    shape, attributes = _POOLED[name]
    x = np.round(normal(0, *shape) * 4)  # many are equal

    def magnitudes(feeds: Arrays) -> Arrays:
        return {key: np.zeros(1) for key in ("y", "indices")}

    return Case(
        name,
        "MaxPool",
        {"x": x},
        ("y", "indices"),
        magnitudes,
        attributes,
        exact=True,
        peerless="it knows no programs" if "program" in attributes else "",
    )


def _pool_gradient(name: str) -> Case:
    forward = _pool(name)
    places = evaluate(forward)["indices"]
    attributes = {**forward.attributes, "spatial": [*forward.feeds["x"].shape[2:]]}
    attributes.pop("program", None)
    feeds = {"dy": normal(1, *places.shape), "indices": places}

    def magnitudes(feeds: Arrays) -> Arrays:
        absolute = {**feeds, "dy": np.abs(feeds["dy"])}
        return evaluate(Case(name, "MaxPoolGrad", absolute, ("dx",), magnitudes, attributes))

    return Case(name, "MaxPoolGrad", feeds, ("dx",), magnitudes, attributes, terms=9)


_LOSSES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "mean": (301, 1000, {}),
    "sum": (64, 10, {"reduction": "sum"}),
    "none": (37, 33, {"reduction": "none", "ignore_index": 2}),
    "ignored": (40, 5, {"ignore_index": -1}),
    "all ignored": (1, 3, {"ignore_index": -1}),
    "one class": (3, 1, {}),
}


def _loss(name: str) -> Case:
    rows, width, attributes = _LOSSES[name]
    low = attributes.get("ignore_index", 0)
    labels = np.random.default_rng(2).integers(min(low, 0), width, rows)
    labels[-1] = low
    feeds = {"logits": normal(0, rows, width) * np.float32(8), "labels": labels}

    def magnitudes(feeds: Arrays) -> Arrays:
        """Of the logarithms, which are differences of two of these numbers at most."""
        spread = np.ptp(feeds["logits"].astype(np.float64), 1, keepdims=True) + np.log(width)
        reduction = attributes.get("reduction", "mean")
        loss = spread[:, 0] if reduction == "none" else spread.sum()
        return {"loss": loss / (rows if reduction == "mean" else 1), "log_probabilities": spread}

    outputs = ("loss", "log_probabilities")
    return Case(name, "SoftmaxCrossEntropyLoss", feeds, outputs, magnitudes, attributes, width)


def _loss_gradient(name: str) -> Case:
    forward = _loss(name)
    labels, logarithms = forward.feeds["labels"], evaluate(forward)["log_probabilities"]
    alone = forward.attributes.get("reduction") == "none"
    dy = normal(3, *labels.shape) if alone else np.float32(3.7)
    feeds = {"dy": np.asarray(dy), "log_probabilities": logarithms, "labels": labels}

    def magnitudes(feeds: Arrays) -> Arrays:
        scale = np.broadcast_to(np.abs(dy), labels.shape)[:, None]
        if forward.attributes.get("reduction", "mean") == "mean":
            ignored = forward.attributes.get("ignore_index")
            scale = scale / max((labels != ignored).sum(), 1)
        chosen = labels[:, None] == np.arange(logarithms.shape[1])
        return {"dx": scale * (np.exp(logarithms) + chosen)}

    attributes = forward.attributes
    return Case(name, "SoftmaxCrossEntropyLossGrad", feeds, ("dx",), magnitudes, attributes)


CASES: list[Case] = [
    *_relu(),
    *(_convolution(name, "all") for name in _CONVOLUTIONS),
    *(_convolution("strides", asked) for asked in _ASKED if asked != "all"),
    *(_gather(name) for name in _GATHERED),
    _layer_norm(3, 7, 128),
    _layer_norm(1000, 24),
    _layer_norm(5, 3),
    _layer_norm(4, 37, axis=0),
    _layer_norm(2, 3, 5, 7, axis=2),
    _layer_norm(6, 50, asked="weights"),
    _normalized(3, 7, 128),
    _normalized(5, 3, asked=1),
    _normalized(300, 37, asked=2, has_bias=False),
    _normalized(2, 3, 5, 7, axis=2),
    _normalized(0, 8),
    _softmax(4, 9, 64),
    _softmax(2, 3, 5, 37, axis=3),
    _softmax(3, 1),
    _softmax(0, 8),
    _softmax(3, 9001),
    _sum(3, 7, 129, axes=2),
    _sum(6, 530, axes=1),
    _sum(11, 4, 9, axes=1, keepdims=1),
    _sum(2, 3, 1, axes=2),
    _sum(0, 5, axes=1),
    *(_pool(name) for name in _POOLED),
    *(_pool_gradient(name) for name in _POOLED),
    *(_loss(name) for name in _LOSSES),
    *(_loss_gradient(name) for name in _LOSSES),
]
