"""Reading and writing ONNX files: clear refusals, streamed weights, no half-written file."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.serde import SerdeError

from onnxbf.errors import ModelError, UnsupportedError
from onnxbf.graph import all_graphs
from onnxbf.protos import from_proto, keeps_types, restore_types

Progress = Callable[[int, int], None]  # weights written so far, weights in all

_CONTEXT = re.compile(r"==> Context: .*", re.DOTALL)  # of a checker's complaint: repeats the node
_PROTOBUF_LIMIT = 2**31 - 2**24  # bytes; some room is left for the nodes


def load_model(path: str | Path) -> ir.Model:
    """Read a model; external weights stay in their files and are mapped when they are needed.

    Raises:
        ModelError: no such file, not ONNX, cut off, external data missing or outside of the
            model's folder, or a graph that ONNX's checker refuses.
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
    model = _understood(proto, path)
    ir.external_data.set_base_dir(model.graph, path.parent)
    _check_external(model, path)
    _check(_in_own_domain(proto) if _holds_gradients(proto) else path, str(path))
    return model


def check_file(path: Path) -> None:
    """Raise ModelError unless there is a file at ``path``, under a name that ONNX can open."""
    if os.path.isdir(path):
        raise ModelError(f"No model at {str(path)!r}: that is a folder.")
    if not os.path.isfile(path):
        raise ModelError(f"No model at {str(path)!r}: there is no such file.")
    _check_name(path)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ModelError(
            f"{str(path)!r} is no UTF-8 text, which ONNX expects of file names: rename it."
        ) from None


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
    """Raise ModelError if ONNX's checker refuses a model in memory."""
    _check(_in_own_domain(proto) if _holds_gradients(proto) else proto, "The model")


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


def external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """Every initializer whose numbers stand in another file."""
    for graph in all_graphs(model):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value


def _check_external(model: ir.Model, path: Path) -> None:
    folder = path.parent.resolve()
    sizes: dict[str, int] = {}
    for tensor in external_tensors(model):
        location = str(tensor.location)
        if location not in sizes:
            sizes[location] = _external_size(folder, location, path)
        if tensor.length not in (None, tensor.nbytes):
            raise ModelError(
                f"Tensor {tensor.name!r} of {str(path)!r} takes {tensor.nbytes} bytes, but "
                f"{tensor.length} of {location!r} are said to be it: export the model again."
            )
        end = (tensor.offset or 0) + tensor.nbytes
        if end > sizes[location]:
            raise ModelError(
                f"Tensor {tensor.name!r} of {str(path)!r} needs {end} bytes of {location!r}, "
                f"which has {sizes[location]}: the file is cut off."
            )


def _external_size(folder: Path, location: str, path: Path) -> int:
    data = (folder / location).resolve()
    if not data.is_relative_to(folder):
        raise ModelError(
            f"{str(path)!r} refers to weights at {location!r}, outside of its own folder: refused. "
            "Move them beside the model."
        )
    if not os.path.isfile(data):
        raise ModelError(
            f"{str(path)!r} refers to weights in {location!r}, which is missing: put it into "
            f"{str(folder)!r}."
        )
    return data.stat().st_size


def save_model(
    model: ir.Model,
    path: str | Path,
    *,
    keep_weights: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a model so that a reader sees the whole file or none.

    External weights are only referred to where the model stays in their folder or ``keep_weights``
    is set, and otherwise streamed into ``<name>.data`` beside it. Weights beyond protobuf's 2 GB
    become external, too.

    Raises:
        ModelError: the file cannot be written.
        UnsupportedError: ``keep_weights`` into another folder, which ONNX does not allow.
    """
    path = Path(path)
    _check_references(model, path.parent, keep_weights)
    with replacing(path) as temporary:
        _write(model, temporary, path, progress)
        if keeps_types(model):
            _restore_types(temporary)


def _restore_types(path: Path) -> None:
    """What onnx_ir writes lacks the types that it does not know."""
    proto = onnx.load(path, load_external_data=False, format="protobuf")
    restore_types(proto)
    onnx.save(proto, path, format="protobuf")


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all. Raises ModelError if it cannot be written."""
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_target(path: Path) -> None:
    """Raise ModelError if it is plain that no file can be written at ``path``."""
    if not os.path.isdir(path.parent):
        raise ModelError(f"Cannot write {str(path)!r}: there is no folder {str(path.parent)!r}.")
    if os.path.isdir(path):
        raise ModelError(f"Cannot write {str(path)!r}: it is a folder.")
    if os.path.exists(path) and not os.path.isfile(path):  # renaming would do away with a device
        raise ModelError(f"Cannot write {str(path)!r}: it is not a file.")
    _check_name(path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path of the same name in a new folder beside ``path``.

    What the block writes there, weights beside the model included, takes its place once all of it
    is written.
    """
    check_target(path)
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".onnxbf-", dir=path.parent))
        temporary = folder / path.name
        yield temporary
        for made in sorted(folder.iterdir(), key=temporary.__eq__):  # the model refers to the rest
            os.replace(made, path.parent / made.name)
    except OSError as error:
        raise ModelError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def filling_folder(path: str | Path, *, last: str, force: bool = False) -> Iterator[Path]:
    """A temporary folder whose files are in ``path`` once the block has filled it.

    A new folder appears whole. In one that holds files, these are replaced one by one: the file
    ``last`` is taken away before the others change and put there after them, so that a mixture of
    old and new lacks it. Files of other names stay.

    Raises:
        ModelError: there is no folder to make it in, or ``path`` is a file.
        UnsupportedError: it holds files, and ``force`` is not set.
    """
    path = Path(path).resolve()
    if path.is_dir() and any(path.iterdir()) and not force:
        raise UnsupportedError(
            f"The folder {str(path)!r} holds files already: name another, or use --force."
        )
    if path.exists() and not path.is_dir():
        raise ModelError(f"Cannot write into {str(path)!r}: it is a file.")
    if not path.parent.is_dir():
        raise ModelError(f"Cannot write {str(path)!r}: there is no folder {str(path.parent)!r}.")
    inside = path if path.is_dir() else path.parent
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=inside))
    except OSError as error:
        raise ModelError(f"Cannot write {str(path)!r}: {error.strerror}.") from None
    try:
        yield temporary
        _move_files(temporary, path, last)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_files(folder: Path, target: Path, last: str) -> None:
    if not target.exists():
        os.chmod(folder, 0o777 & ~_umask())
        os.rename(folder, target)
        return
    (target / last).unlink(missing_ok=True)
    for file in sorted(folder.iterdir(), key=lambda file: (file.name == last, file.name)):
        os.replace(file, target / file.name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _check_references(model: ir.Model, folder: Path, keep_weights: bool) -> None:
    if not keep_weights:
        return
    for tensor in external_tensors(model):
        if not _stays(tensor, folder):
            raise UnsupportedError(
                f"--keep-weights: tensor {tensor.name!r} lies in {str(tensor.path)!r}, and ONNX "
                f"models may not refer to files outside of their folder: write the model there, "
                "or leave out --keep-weights."
            )


def _stays(tensor: ir.ExternalTensor, folder: Path) -> bool:
    return Path(tensor.path).resolve() == (folder / tensor.location).resolve()


def _write(model: ir.Model, temporary: Path, path: Path, progress: Progress | None) -> None:
    move = any(not _stays(tensor, path.parent) for tensor in external_tensors(model))
    if not move and _inline_bytes(model) < _PROTOBUF_LIMIT:
        ir.save(model, temporary, format="protobuf")
        return

    def report(_: ir.TensorProtocol, info: ir.external_data.CallbackInfo) -> None:
        if progress is not None:
            progress(info.index + 1, info.total)

    ir.save(model, temporary, format="protobuf", external_data=f"{path.name}.data", callback=report)


def _inline_bytes(model: ir.Model) -> int:
    return sum(
        value.const_value.nbytes
        for graph in all_graphs(model)
        for value in graph.initializers.values()
        if value.const_value is not None and not isinstance(value.const_value, ir.ExternalTensor)
    )
