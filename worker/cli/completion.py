"""`siem completion`: what makes a shell complete commands and options."""

import os

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_SIEM_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print what makes a shell complete commands and options; left out, for the shell that you use.

    \b
    bash, in ~/.bashrc:                    eval "$(siem completion bash)"
    zsh, in ~/.zshrc:                      eval "$(siem completion zsh)"
    fish, in ~/.config/fish/config.fish:   siem completion fish | source
    """
    name = shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119 - a word, not a file
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise click.UsageError(f"say for which shell: {', '.join(SHELLS)}")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "siem", _VARIABLE).source())
