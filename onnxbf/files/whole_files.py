"""Files and folders that are there whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnxbf.errors import ModelError, UnsupportedError


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
    check_name(path)


def check_name(path: Path) -> None:
    """Raise ModelError unless ONNX can open a file of this name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ModelError(
            f"{str(path)!r} is no UTF-8 text, which ONNX expects of file names: rename it."
        ) from None


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
