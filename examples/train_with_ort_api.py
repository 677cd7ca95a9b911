"""Train a model under BF16 with ONNX Runtime's own training API.

    python examples/train_with_ort_api.py [FOLDER]

``onnxbf artifacts`` makes what that API takes from a small ResNet; this script then needs onnxbf
for one call, which makes its operators known to the session. The task: say in which of ten places
of a noisy image the bright spot is.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import onnxruntime

import onnxbf

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "tests" / "models" / "torchscript_resnet.onnx"
STEPS, BATCH, RATE = 50, 32, 1e-2


def main() -> None:
    """Make the artifacts, train, evaluate, save a checkpoint."""
    folder = chosen_folder()
    options = ["--loss", "cross-entropy", "--optimizer", "adamw", "--recipe", "bf16", "--force"]
    command = [sys.executable, "-m", "onnxbf", "artifacts", str(MODEL), *options, "-o", str(folder)]
    done = subprocess.run(command, check=False, cwd=ROOT)
    if done.returncode:  # it has said why
        sys.exit(done.returncode)

    api = training_api()
    session_options = onnxruntime.SessionOptions()
    onnxbf.register_custom_ops(session_options)
    state = api.CheckpointState.load_checkpoint(folder / "checkpoint")
    module = api.Module(
        folder / "training_model.onnx",
        state,
        folder / "eval_model.onnx",
        session_options=session_options,
    )
    optimizer = api.Optimizer(folder / "optimizer_model.onnx", module)
    optimizer.set_learning_rate(RATE)

    generator = np.random.default_rng(0)
    for step in range(STEPS):
        loss, _ = module(*batch(generator))
        optimizer.step()
        module.lazy_reset_grad()
        if step % 10 == 0 or step == STEPS - 1:
            print(f"step {step:3d}  loss {loss:.4f}")

    module.eval()
    images, labels = batch(generator)
    loss, scores = module(images, labels)
    accuracy = np.mean(np.argmax(scores, axis=1) == labels)
    print(f"evaluation loss {loss:.4f}, accuracy {accuracy:.2f}")
    api.CheckpointState.save_checkpoint(state, folder / "trained", include_optimizer_state=True)
    print(f"Wrote {folder / 'trained'}")


def chosen_folder() -> Path:
    """Where the artifacts go, as the command line says; refused where that cannot be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = ROOT / "demo" / "artifacts"
    told = "where artifacts and checkpoint are written (default: demo/artifacts of the repository)"
    parser.add_argument("folder", nargs="?", type=Path, default=default, help=told)
    folder: Path = parser.parse_args().folder.resolve()
    if not MODEL.is_file():
        parser.error(f"the model {MODEL} is missing: run this script in a checkout of onnxbf.")
    if folder.exists() and not folder.is_dir():
        parser.error(f"{folder} is a file: name a folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot make the folder {folder.parent}: {error.strerror}.")
    return folder


def training_api() -> types.ModuleType:
    """``onnxruntime.training.api``; with PyTorch installed, importing it plainly does as well.

    The ``__init__`` of the package in which it stands imports PyTorch; this passes it by.
    """
    package = types.ModuleType("onnxruntime.training")
    package.__path__ = [str(Path(onnxruntime.__file__).parent / "training")]
    sys.modules.setdefault("onnxruntime.training", package)
    return importlib.import_module("onnxruntime.training.api")


def batch(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images of float32[32,3,16,16] and the places of their spots, int64[32]."""
    labels = generator.integers(0, 10, BATCH)
    images = generator.normal(0, 0.3, (BATCH, 3, 16, 16)).astype(np.float32)
    for image, place in zip(images, labels):
        row, column = divmod(int(place), 4)
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
    return images, labels


if __name__ == "__main__":
    main()
