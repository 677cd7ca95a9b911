"""Reading and writing ONNX files: clear refusals, streamed weights, no half-written file."""

from onnxbf.files.reading import check_file, check_proto, load_model
from onnxbf.files.saving import save_model
from onnxbf.files.whole_files import check_target, filling_folder, replacing, write_text

__all__ = [
    "check_file",
    "check_proto",
    "check_target",
    "filling_folder",
    "load_model",
    "replacing",
    "save_model",
    "write_text",
]
