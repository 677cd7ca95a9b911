"""Training under an emulated recipe: differentiate first, rewrite after, run in ONNX Runtime."""
