"""``python -m onnxbf``."""

from onnxbf.cli.main import main

main()
