"""Emulate BF16, FP8 and other arithmetic in ONNX models, bit for bit, on an ordinary CPU."""
