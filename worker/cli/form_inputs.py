"""Reads what is not typed on the command line: files, standard input, a hidden answer; and pairs.

Comes in: paths and words from options. Goes out: text, or click.UsageError that names the option and never
repeats what was read, for it may be a secret.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from worker.integrations.pem import pem_text


def text_in(flag: str, path: Path) -> str:
    """Read a file, UTF-8 without the white space around it; - is standard input."""
    try:
        text = _content(path).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise click.UsageError(f"{flag}: {path} holds no text")
    return text


def pem_in(flag: str, path: Path) -> str:
    """Read a file in PEM, with anything around its blocks, in whichever encoding; - is standard input."""
    text = pem_text(_content(path)).strip()
    if not text:
        raise click.UsageError(f"{flag}: {path} is empty")
    return text


def _content(path: Path) -> bytes:
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def secret(what: str, flag: str, path: Path | None, given: str | None = None) -> str:
    """Return a secret that was given, or is in a file, or else is typed unseen at the terminal."""
    if given is not None and path is not None:
        raise click.UsageError(f"give {flag.removesuffix('-file')} or {flag}, not both")
    if path is not None:
        return text_in(flag, path)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError(f"the {what} is missing, and there is no terminal to ask at: give {flag}")
    typed: str = click.prompt(f"{what} (not shown)", hide_input=True, err=True)
    return typed


def pairs(flag: str, given: Iterable[str], separator: str, example: str) -> dict[str, str]:
    """Read `NAME<separator>VALUE` of each, without the white space around both; no name may come twice."""
    read: dict[str, str] = {}
    for number, one in enumerate(given, 1):
        name, found, value = (part.strip() for part in one.partition(separator))
        if not found:
            raise click.UsageError(f"{flag}: number {number} is not written as {example}")
        if name in read:
            raise click.UsageError(f"{flag}: {name} comes twice: give it once")
        read[name] = value
    return read


def one_reader(paths: Sequence[Path]) -> None:
    """Refuse to read standard input for two options: the second would find it empty."""
    if sum(str(path) == "-" for path in paths) > 1:
        raise click.UsageError("only one option can read standard input: give files for the others")
