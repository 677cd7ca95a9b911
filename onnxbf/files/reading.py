"""Reading models: what is not a usable one is refused in a sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.serde import SerdeError

from onnxbf.errors import ModelError
from onnxbf.files.external_data import check_external
from onnxbf.files.whole_files import check_name
from onnxbf.protos import from_proto

_CONTEXT = re.compile(r"==> Context: .*", re.DOTALL)  # of a checker's complaint: repeats the node


def load_model(path: str | Path) -> ir.Model:
    """Read a model; external weights stay in their files and are mapped when they are needed.

    Raises:
        ModelError: no such file, not ONNX, cut off, external data missing or outside of the
            model's folder, an opset or IR newer than ONNX knows, or a graph that its checker
            refuses.
    """
    path = Path(path)
    check_file(path)
    try:
        proto = onnx.load(path, load_external_data=False, format="protobuf")
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{str(path)!r} is not an ONNX file, or is cut off: it cannot be decoded ({error})."
        ) from None
    except OSError as error:
        raise ModelError(f"Cannot read {str(path)!r}: {error.strerror}.") from None
    if not proto.HasField("graph") or not proto.ir_version:
        raise ModelError(f"{str(path)!r} is not an ONNX model: it holds no graph.")
    _check_versions(proto, repr(str(path)))
    model = _understood(proto, path)
    ir.external_data.set_base_dir(model.graph, path.parent)
    check_external(model, path)
    _check(_in_own_domain(proto) if _holds_gradients(proto) else path, str(path))
    return model


def check_file(path: Path) -> None:
    """Raise ModelError unless there is a file at ``path``, under a name that ONNX can open."""
    if os.path.isdir(path):
        raise ModelError(f"No model at {str(path)!r}: that is a folder.")
    if not os.path.isfile(path):
        raise ModelError(f"No model at {str(path)!r}: there is no such file.")
    check_name(path)


def _understood(proto: onnx.ModelProto, path: Path) -> ir.Model:
    """The model; where onnx_ir cannot make one, what ONNX's checker says of it, or else onnx_ir."""
    try:
        return from_proto(proto)
    except SerdeError as error:
        _check(path, str(path))
        cause: BaseException = error
        while before := cause.__cause__ or cause.__context__:
            cause = before
        raise ModelError(f"{str(path)!r} is not a usable ONNX model: {cause}") from None


def check_proto(proto: onnx.ModelProto) -> None:
    """Raise ModelError if ONNX does not know a model's opset or IR, or its checker refuses it."""
    _check_versions(proto, "The model")
    _check(_in_own_domain(proto) if _holds_gradients(proto) else proto, "The model")


def _check_versions(proto: onnx.ModelProto, name: str) -> None:
    """The checker takes any opset, and what it knows for the operators of an unknown one."""
    if proto.ir_version > onnx.IR_VERSION:
        raise ModelError(
            f"{name} is written in IR version {proto.ir_version}, and onnx {onnx.__version__} "
            f"knows none beyond {onnx.IR_VERSION}: update onnx, or export the model in IR version "
            f"{onnx.IR_VERSION}."
        )
    newest = onnx.defs.onnx_opset_version()
    wanted = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if wanted > newest:
        raise ModelError(
            f"{name} is written in opset {wanted}, and onnx {onnx.__version__} knows none beyond "
            f"{newest}: update onnx, or export the model in opset {newest}."
        )


def _holds_gradients(proto: onnx.ModelProto) -> bool:
    return any(_is_gradient(node) for node in proto.graph.node)


def _is_gradient(node: onnx.NodeProto) -> bool:
    """Whether this is an operator like MaxPoolGrad: ONNX Runtime's own, but in ONNX's domain."""
    return not node.domain and node.op_type.endswith("Grad")


def _in_own_domain(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for ONNX's checker, which asks nothing of operators in other domains than its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for node in filter(_is_gradient, copy.graph.node):
        node.domain = "com.microsoft"
    if all(entry.domain != "com.microsoft" for entry in copy.opset_import):
        copy.opset_import.add(domain="com.microsoft", version=1)
    for tensor in copy.graph.initializer:  # it would look for files in the current folder
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.CopyFrom(
                onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0])
            )
    return copy


def _check(model: onnx.ModelProto | Path, name: str) -> None:
    try:
        onnx.checker.check_model(str(model) if isinstance(model, Path) else model)
    except (onnx.checker.ValidationError, ValueError) as error:
        said = " ".join(_CONTEXT.sub("", str(error)).split())
        raise ModelError(f"{name} is refused by ONNX's checker: {said}") from None
