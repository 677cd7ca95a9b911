"""The one place that makes sessions of ONNX Runtime, and the one that imports it.

Both supported packages, onnxruntime-training-cpu 1.19 and current onnxruntime, install a module of
the same name; what differs between them is dealt with here.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from numpy.typing import NDArray

from onnxbf.custom_ops.library import library_path
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import KernelError, ModelError, RuntimeMissing
from onnxbf.feeds import check_feeds
from onnxbf.header import Header, read_header

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, OrtValue, SessionOptions

_REGISTERED = "ai.onnxbf.registered"
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
_FIRST_WITH_EXTERNAL_FOLDER = (1, 21)
_STOP_SPINNING = "session.force_spinning_stop"
_FATAL = 4  # severity of what is logged: errors come as exceptions, once is enough

_INSTALL = "Install one: pip install 'onnxbf[training]' or 'onnxbf[inference]'."

_NOISE = tuple(
    re.compile(pattern)
    for pattern in (
        r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
        r"^Load model from .*? failed:",
        r"^Exception during initialization: ",
        r"^Error in execution: ",
        r"^Failed to load model with error: ",
        r"^This is an invalid model\. ",
        r"\S*/onnxruntime/\S+:\d+ .*?\)(?: const)? (?=[A-Z])",  # file, line and signature
    )
)
_FAILED = re.compile(
    r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: "
)


def register_custom_ops(options: SessionOptions) -> None:
    """Make the operators of domain ``ai.onnxbf`` known to sessions made with ``options``.

    Raises:
        KernelError: the kernel library is absent, or unusable on this machine.
    """
    if _is_registered(options):
        return
    path = library_path()
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:  # ONNX Runtime's errors share no base but this
        raise KernelError(f"ONNX Runtime cannot use {path}: {_sentence(error)}") from None
    options.add_session_config_entry(_REGISTERED, "1")


def _is_registered(options: SessionOptions) -> bool:
    """Whether the library is in ``options``; there twice, it keeps sessions from being made."""
    try:
        return bool(options.get_session_config_entry(_REGISTERED))
    except RuntimeError:  # no such entry
        return False


def make_session(
    model: str | Path | bytes,
    *,
    threads: int | None = None,
    optimize: bool = True,
    folder: str | Path | None = None,
) -> InferenceSession:
    """A session on the CPU; the custom operators are there where the model uses them.

    Args:
        model: a file, which is the way for large models, or the bytes of one.
        threads: how many to use; None: one for each core.
        optimize: whether ONNX Runtime may rewrite the graph.
        folder: where external weights lie, for a model given as bytes.

    Raises:
        RuntimeMissing: no ONNX Runtime, or one that is older than the model.
        KernelError: the model uses the custom operators, and their library is unusable.
        ModelError: not a model, or one that ONNX Runtime refuses.
    """
    _runtime()
    model = model if isinstance(model, bytes) else Path(model)
    name = "the model" if isinstance(model, bytes) else repr(str(model))
    header = read_header(model)
    _check_version(header, name)
    options = _options(threads=threads, optimize=optimize)
    if DOMAIN in header.opsets:
        register_custom_ops(options)
    if folder is not None and isinstance(model, bytes):
        model = _with_external_folder(model, Path(folder).resolve(), options)
    try:
        return _session(model, options)
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime refuses {name}: {_sentence(error)}") from None


def run(session: InferenceSession, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Run a session once.

    Args:
        feeds: an array for each input of the model by name, or a list where it is a sequence.

    Returns:
        The outputs by name: arrays, or lists of them.

    Raises:
        NameUnknown: a name that is no input.
        ModelError: an input is missing, or of another type, or the model fails on these inputs.
    """
    required = {value.name: value.type for value in session.get_inputs()}
    optional = {value.name: value.type for value in session.get_overridable_initializers()}
    checked = check_feeds(feeds, required, optional)
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, checked)))
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime fails to run the model: {_sentence(error)}") from None


def run_bound(session: InferenceSession, binding: IOBinding) -> None:
    """Run a session once on values that are bound to it.

    Raises:
        ModelError: the model fails on these inputs.
    """
    try:
        session.run_with_iobinding(binding)
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime fails to run the model: {_sentence(error)}") from None


def _check_version(header: Header, name: str) -> None:
    wanted = {"IR version": (header.ir_version, _newest_ir_version())}
    for domain, label in (("", "opset"), ("ai.onnx.ml", "ai.onnx.ml opset")):
        if domain in header.opsets:
            wanted[label] = (header.opsets[domain], _newest_opset(domain))
    too_new = {label: pair for label, pair in wanted.items() if pair[0] > pair[1]}
    if not too_new:
        return
    has = " and ".join(f"{label} {version}" for label, (version, _) in too_new.items())
    takes = " and ".join(f"{label} {newest}" for label, (_, newest) in too_new.items())
    raise RuntimeMissing(
        f"onnxruntime {_runtime().__version__} takes at most {takes}, but {name} has {has}. Export "
        "it for that, convert it (onnx.version_converter), or install a newer onnxruntime."
    )


@functools.cache
def _newest_ir_version() -> int:
    return max(itertools.takewhile(lambda version: _accepts(version, "", 8), range(4, 1000)))


@functools.cache
def _newest_opset(domain: str) -> int:
    return max(itertools.takewhile(lambda version: _accepts(8, domain, version), range(1, 1000)))


def _accepts(ir_version: int, domain: str, opset: int) -> bool:
    """Whether the smallest of models loads: what a release accepts is told nowhere else."""
    opsets = [onnx.helper.make_opsetid(d, v) for d, v in {"": 8, domain: opset}.items()]
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "probe", [value], [result])
    model = onnx.helper.make_model(graph, ir_version=ir_version, opset_imports=opsets)
    try:
        _session(model.SerializeToString(), _options(threads=1, optimize=False))
    except Exception:  # as above
        return False
    return True


def _runtime() -> Any:
    """The module onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeMissing(f"No ONNX Runtime is installed ({error}). {_INSTALL}") from None
    if not hasattr(onnxruntime, "InferenceSession"):  # a second package took files of the first
        raise RuntimeMissing(f"ONNX Runtime is only partly installed. {_INSTALL}")
    return onnxruntime


def _options(*, threads: int | None, optimize: bool) -> SessionOptions:
    runtime = _runtime()
    options: SessionOptions = runtime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads or 0
    # Threads wait busily for more to do, which pays within a run. They would go on after it for
    # some 20 ms, and take a core from the session that runs next: a training step alternates two.
    options.add_session_config_entry(_STOP_SPINNING, "1")
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _session(model: Path | bytes, options: SessionOptions) -> InferenceSession:
    session: InferenceSession = _runtime().InferenceSession(
        model, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    return session


def _with_external_folder(model: bytes, folder: Path, options: SessionOptions) -> bytes:
    """Tell ONNX Runtime that the external weights of a model in memory lie in ``folder``.

    Releases before 1.21 have no option for that, but accept absolute locations, which later ones
    refuse.
    """
    if _release() >= _FIRST_WITH_EXTERNAL_FOLDER:
        options.add_session_config_entry(_EXTERNAL_FOLDER, str(folder))
        return model
    proto = onnx.ModelProto.FromString(model)
    for location in _external_locations(proto.graph):
        path = (folder / location.value).resolve()
        if not path.is_relative_to(folder):
            raise ModelError(
                f"The model refers to weights at {location.value!r}, outside of {str(folder)!r}."
            )
        location.value = str(path)
    return proto.SerializeToString()


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", _runtime().__version__)[:2])


def _external_locations(graph: onnx.GraphProto) -> Iterator[onnx.StringStringEntryProto]:
    for tensor in graph.initializer:
        yield from (entry for entry in tensor.external_data if entry.key == "location")
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _external_locations(inner)


def _sentence(error: Exception) -> str:
    """What an error of ONNX Runtime says, without codes, places in its sources, and repetition."""
    text = str(error).strip()
    for noise in _NOISE:
        text = noise.sub("", text)
    text = _FAILED.sub(r"\1 node '\2': ", text)
    first, *others = text.strip().split("\n")
    return " ".join([first, *(line.strip() for line in others if line.startswith(" index:"))])


def share(array: NDArray[Any]) -> OrtValue:
    """An OrtValue on the memory of ``array``, which must be contiguous and outlive it."""
    value: OrtValue = _runtime().OrtValue.ortvalue_from_numpy(array)
    return value
