"""Rewriting: each pass takes an ``onnx_ir.Model`` and edits it in place. One pass, one file."""
