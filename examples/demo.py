"""Convert a real model to BF16, run it beside the original, and see what changed.

    python examples/demo.py

The model is a small ResNet that PyTorch exported. What is made lies in ``demo/`` afterwards.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

import onnxbf

ROOT = Path(__file__).resolve().parents[1]
EXPORTED = ROOT / "tests" / "models" / "torch_resnet.onnx"
FOLDER = ROOT / "demo"


def main() -> None:
    """Convert, run, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    inputs = EXPORTED.with_suffix(".npz")
    for needed in (EXPORTED, inputs):
        if not needed.is_file():
            parser.error(f"{needed} is missing: run this script in a checkout of onnxbf.")
    FOLDER.mkdir(exist_ok=True)
    original, rewritten = FOLDER / "resnet.onnx", FOLDER / "resnet.bf16.onnx"
    shutil.copy(EXPORTED, original)
    inputs = shutil.copy(inputs, FOLDER / "inputs.npz")

    print("1. Rewrite the model\n")
    command("convert", original, "-o", rewritten)

    print("\n2. Run both in ONNX Runtime, as a script of yours would\n")
    before, after = run(original, inputs), run(rewritten, inputs)
    for name, expected in before.items():
        print(f"{name}{list(expected.shape)}, the first values:")
        print(f"  original   {expected.ravel()[:6]}")
        print(f"  rewritten  {after[name].ravel()[:6]}")

    print("\n3. Measure how far apart they are\n")
    command("compare", original, rewritten, "--inputs", inputs)


def run(model: Path, inputs: Path) -> dict[str, np.ndarray]:
    """The outputs of a model, by name. The two lines on options are all that onnxbf adds."""
    options = onnxruntime.SessionOptions()
    onnxbf.register_custom_ops(options)
    session = onnxruntime.InferenceSession(str(model), options)
    names = [output.name for output in session.get_outputs()]
    with np.load(inputs) as data:
        feeds = {each.name: data[f"input/{each.name}"] for each in session.get_inputs()}
    return dict(zip(names, session.run(names, feeds)))


def command(*arguments: str | Path) -> None:
    """Run ``onnxbf`` in the folder of the demo, and show how it is called."""
    texts = [each.name if isinstance(each, Path) else each for each in arguments]
    print(f"$ onnxbf {shlex.join(texts)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "onnxbf", *texts], check=False, cwd=FOLDER)
    if done.returncode:  # it has said why
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
