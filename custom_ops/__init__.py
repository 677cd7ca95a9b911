"""C++ kernels, the ONNX Runtime operators built on them, and their NumPy oracles."""
