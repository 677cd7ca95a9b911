"""``onnxbf completion``: shell completion."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from onnxbf.cli.options import examples
from onnxbf.errors import UnsupportedError

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog=examples(
        'eval "$(onnxbf completion bash)"   # in ~/.bashrc',
        'eval "$(onnxbf completion zsh)"    # in ~/.zshrc, after compinit',
        "onnxbf completion fish > ~/.config/fish/completions/onnxbf.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def command(shell: str | None) -> None:
    """Print the script that completes onnxbf in SHELL, by default the one you use."""
    from onnxbf.cli.main import group

    kind = get_completion_class(shell or _login_shell())
    if kind is None:
        raise UnsupportedError("Cannot tell your shell from $SHELL: name bash, zsh or fish.")
    click.echo(kind(group, {}, "onnxbf", "_ONNXBF_COMPLETE").source())


def _login_shell() -> str:
    return Path(os.environ.get("SHELL", "")).name
