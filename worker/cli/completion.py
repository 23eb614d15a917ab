"""`siem completion`: what makes a shell complete commands, options and the names of integrations.

Input: a shell's name. Output: click's script for it, which asks this very program by its path: so it
works for an alias, too.
"""

import os
import re
import shlex
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_SIEM_COMPLETE"
#: What click's scripts say where they call the program by its name.
_CALLS = {
    "bash": (f"{_VARIABLE}=bash_complete $1)", f"{_VARIABLE}=bash_complete {{path}})"),
    "zsh": (f"{_VARIABLE}=zsh_complete siem)", f"{_VARIABLE}=zsh_complete {{path}})"),
    "fish": ("COMP_CWORD=(commandline -t) siem)", "COMP_CWORD=(commandline -t) {path})"),
}
#: zsh gives up where no program of that name is on the PATH.
_GIVES_UP = re.compile(r"\n *\(\( ! \$\+commands\[siem\] \)\) && return 1\n")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print what makes a shell complete commands, options and names; left out, for the shell that you use.

    \b
    bash, in ~/.bashrc:                    eval "$(siem completion bash)"
    zsh, in ~/.zshrc:                      eval "$(siem completion zsh)"
    fish, in ~/.config/fish/config.fish:   siem completion fish | source

    It works for an alias `siem` as well. Integrations are completed by name (by id where a shell would have
    to quote the name), from the ledger that SIEM_DATA_DIR or SIEM_DATABASE_URL names.
    """
    name = shell or os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119 - a word, not a file
    if name not in SHELLS:
        raise click.UsageError(f"say for which shell: {', '.join(SHELLS)}")
    click.echo(_script(name, Path(sys.argv[0]).absolute()))


def _script(shell: str, program: Path) -> str:
    kind = get_completion_class(shell)
    if kind is None:  # a click that has dropped it
        raise click.UsageError(f"there is no completion for {shell}")
    root = click.get_current_context().find_root().command
    by_name, by_path = _CALLS[shell]
    script = _GIVES_UP.sub("\n", kind(root, {}, "siem", _VARIABLE).source())
    return script.replace(by_name, by_path.format(path=shlex.quote(str(program))))
