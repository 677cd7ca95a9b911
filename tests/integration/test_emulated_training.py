"""Training whose matrix products sum as an arithmetic profile says, or read blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.cli.main import group
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.files import load_model
from onnxbf.graph import OPERATOR_KEY, Phase, phase_of, step_input
from onnxbf.operators import OPERATORS, Kind
from onnxbf.recipe import EMULATED, RECIPES, Recipe, Rule
from onnxbf.training.graphs import build_graphs
from onnxbf.training.trainer import Trainer
from tests.networks import write_data, write_mlp
from tests.runtime import needs_training

pytestmark = needs_training
MODELS = Path(__file__).parents[1] / "models"
PRODUCTS = [op for op in EMULATED if OPERATORS[op].kind is Kind.GEMM]
PROFILED = [recipe.name for recipe in RECIPES.values() if recipe.arithmetics]


@pytest.mark.parametrize(
    "name", ["torch_vit", "torch_llama", "keras_mlp", "torch_resnet", "torch_unet"]
)
def test_every_product_of_a_step_is_emulated(name: str) -> None:
    graphs = build_graphs(load_model(MODELS / f"{name}.onnx"), "mse", "sgd")
    plain = [
        node
        for node in graphs.gradient.graph
        if node.op_type in PRODUCTS and OPERATOR_KEY not in node.metadata_props
    ]
    gradient = graphs.under(RECIPES["avx512-bf16"]).gradient
    products = [node for node in gradient.graph if "arithmetic" in node.attributes]
    assert len(products) == len(plain) > 0
    assert {node.domain for node in products} == {DOMAIN}
    assert {phase_of(node) for node in products} == set(Phase) - {Phase.UPDATE}


@pytest.mark.parametrize("arithmetic", ["sequential{format=bf16}", "sequential{rounding=sr}"])
def test_all_sums_of_a_step_are_emulated(arithmetic: str) -> None:
    """Sums of the backward pass, too: gradients of biases, and of what was broadcast."""
    graphs = build_graphs(load_model(MODELS / "torch_vit.onnx"), "mse", "adam")
    rule = Rule(ops=EMULATED, arithmetic=parse_arithmetic(arithmetic))
    emulated = graphs.under(Recipe("sums", "", (rule,)))
    nodes = list(emulated.gradient.graph)
    summing = [node for node in nodes if "arithmetic" in node.attributes]
    found = {(node.op_type, phase_of(node)) for node in summing}
    assert {("Softmax", Phase.FORWARD), ("LayerNormalization", Phase.FORWARD)} <= found
    assert ("ReduceSum", Phase.WEIGHT_GRADIENT) in found
    assert {"SoftmaxGrad", "LayerNormGrad"} <= {op_type for op_type, _ in found}
    assert not [node for node in nodes if node.op_type in EMULATED and node not in summing]
    with np.load(MODELS / "torch_vit.npz") as data:
        images = data["input/images"]
    (labels,) = graphs.attached.labels
    batch = {"images": images, labels: np.zeros((len(images), 5), np.float32)}
    losses = {}
    for name, made in {"none": graphs.under(RECIPES["none"]), "sums": emulated}.items():
        trainer = Trainer(made, threads=1)
        losses[name] = [trainer.step([batch], 0.003).loss for _ in range(6)]
    assert losses["sums"][-1] < 0.9 * losses["sums"][0]
    assert losses["sums"] != losses["none"]
    np.testing.assert_allclose(losses["sums"], losses["none"], rtol=0.1)


@pytest.mark.parametrize("name", ["torch_resnet", "torch_vit"])
def test_a_resnet_and_a_transformer_learn_under_every_profile(name: str) -> None:
    graphs = build_graphs(load_model(MODELS / f"{name}.onnx"), "mse", "adam")
    with np.load(MODELS / f"{name}.npz") as data:
        images, outputs = data["input/images"], [data[key] for key in data if "output" in key]
    (labels,) = graphs.attached.labels
    batch = {"images": images, labels: np.full_like(outputs[0], 0.5)}
    losses = {}
    for text in (
        *PROFILES,
        "sequential{format=bf16}",
        "sequential{rounding=sr}",
        "chunked{size=64}",
    ):
        rule = Rule(ops=("gemm",), arithmetic=parse_arithmetic(text))
        trainer = Trainer(graphs.under(Recipe("products", "", (rule,))), threads=2)
        losses[text] = [trainer.step([batch], 0.003).loss for _ in range(6)]
        assert losses[text][-1] < 0.95 * losses[text][0], text
        np.testing.assert_allclose(losses[text][0], losses["fp32"][0], rtol=0.1, err_msg=text)
    assert losses["avx512_bf16"] != losses["fp32"]


def test_stochastic_sums_draw_anew_in_each_step() -> None:
    rule = Rule(ops=("gemm",), arithmetic=parse_arithmetic("sequential{rounding=sr}"))
    model = load_model(MODELS / "keras_mlp.onnx")
    graphs = build_graphs(model, "mse", "sgd").under(Recipe("sr", "", (rule,)))
    products = [node for node in graphs.gradient.graph if "arithmetic" in node.attributes]
    step = step_input(graphs.gradient)
    assert products and all(node.inputs[-1] is step for node in products)
    streams = [node.attributes["node"].as_int() for node in products]
    assert len(set(streams)) == len(products)


@pytest.mark.parametrize("recipe", [*PROFILED, "mxfp8", "mxint8"])
def test_a_network_learns_under_every_recipe(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mlp(tmp_path / "mlp.onnx")
    write_data(tmp_path / "train.npz", 200, 1)
    monkeypatch.chdir(tmp_path)
    arguments = (
        "train mlp.onnx --data train.npz --epochs 6 --batch-size 20 --optimizer adam "
        "--schedule FIX{k0=0.02} --against none -o run"
    )
    done = CliRunner().invoke(group, [*arguments.split(), "--recipe", recipe], prog_name="onnxbf")
    assert done.exit_code == 0, done.output
    logs = [path.read_text().splitlines() for path in Path("run").glob("seed-*/log.jsonl")]
    epochs = [
        record for log in logs for record in map(json.loads, log) if "epoch" in record["kind"]
    ]
    losses = {lane: _losses(epochs, lane) for lane in (recipe, "none")}
    assert losses[recipe][-1] < 0.8 * losses[recipe][0]
    assert losses[recipe] != losses["none"]
    np.testing.assert_allclose(losses[recipe], losses["none"], rtol=0.2)


def test_a_network_of_transposed_convolutions_learns_alike() -> None:
    model = load_model(MODELS / "torch_unet.onnx")
    graphs = build_graphs(model, "mse", "adam")
    with np.load(MODELS / "torch_unet.npz") as data:
        images = data["input/images"]
    (labels,) = graphs.attached.labels
    batch = {"images": images, labels: np.float32(np.repeat(images > 0, 2, axis=1))}
    losses = {}
    for recipe in ("none", "avx512-bf16"):
        trainer = Trainer(graphs.under(RECIPES[recipe]), threads=1)
        losses[recipe] = [trainer.step([batch], 0.01).loss for _ in range(12)]
    assert losses["avx512-bf16"][-1] < 0.9 * losses["avx512-bf16"][0]
    assert losses["avx512-bf16"] != losses["none"]
    np.testing.assert_allclose(losses["avx512-bf16"], losses["none"], rtol=0.05)


def _losses(epochs: list[dict[str, object]], lane: str) -> list[float]:
    return [float(str(record["loss"])) for record in epochs if record["lane"] == lane]


def test_numeric_health_names_what_it_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mlp(tmp_path / "mlp.onnx")
    write_data(tmp_path / "train.npz", 200, 1)
    monkeypatch.chdir(tmp_path)
    arguments = "train mlp.onnx --data train.npz --recipe mxfp8 --against avx512-bf16 -o run"
    for options in ("--health-every 3 --seed 0 --seed 1", "--resume --epochs 2"):
        done = CliRunner().invoke(group, [*arguments.split(), *options.split()])
        assert done.exit_code == 0, done.output
        told = " ".join(done.output.split())
        assert told.count("Numeric health does not see what is rounded by quantizers") == 1
        assert "mxfp8: Numeric health" in told
    for path in Path("run").glob("seed-*/log.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        (left,) = [record for record in records if record["kind"] == "unobserved"]
        assert left is records[0] and left["lane"] == "mxfp8"
        assert len(left["quantizers"]) > 3 and not left["products"]
