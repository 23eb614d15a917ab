"""What the documents name is there: files, headings, commands, options, packages, the version."""

import os
import re
import tomllib
from pathlib import Path

import click
import pytest

from tests.project.documents import DOCUMENTS, TOP, anchors, code, commands, links, without_assignments
from worker import __version__
from worker.cli import siem

#: Programs that are neither files of the checkout nor `siem`; test_readme_commands runs some of them.
FOREIGN = {
    *("alias", "amtool", "apt-get", "buildah", "cat", "cd", "celery", "chmod", "chown", "chronyc", "cp"),
    *("createdb", "createuser", "curl", "date", "df", "docker", "echo", "export", "getent", "git", "grep"),
    *("groupadd", "helm", "install", "journalctl", "kill", "kubectl", "ln", "ls", "mkdir", "mv", "nginx"),
    *("openssl", "pg_dump", "pg_dumpall", "pg_restore", "pgbouncer", "prometheus", "promtool", "psql"),
    *("python3", "redis-cli", "redis-server", "rm", "rsync", "scp", "sed", "ss", "sudo", "systemctl"),
    *(
        "systemd-analyze",
        "systemd-sysusers",
        "systemd-tmpfiles",
        "tar",
        "tee",
        "test",
        "timedatectl",
        "umask",
        "useradd",
    ),
}
LARGEST_PICTURE = 200_000
_PATH = re.compile(r"(?:\./)?(?:\.ci|\.github|deploy|tests|worker)/[\w./*-]*")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    """Each file of a link or picture is there, and has the heading that the link names."""
    broken = []
    for words, target in links(document):
        name, _, anchor = target.partition("#")
        path = (document.parent / name) if name else document
        if not words or not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)

    assert broken == []


@every_document
def test_files_that_are_named_exist(document: Path) -> None:
    """A path written as code is one of the checkout; in worker/README.md it may start below worker/."""
    named = [word for text in code(document) for word in text.split() if _PATH.fullmatch(word)]
    if document.parent == TOP / "worker":
        inner = re.compile(r"(?!tests/|worker/)[\w/]+\.py")
        named += [f"worker/{one}" for one in code(document) if inner.fullmatch(one)]

    assert [path for path in named if "<" not in path and not list(TOP.glob(path.removeprefix("./")))] == []


@every_document
def test_commands_exist(document: Path) -> None:
    """Each command of a block, and each `siem` command amid the text, with all its options."""
    inline = [text.split() for text in code(document) if text.startswith("siem ")]
    wrong = [" ".join(words) for words in [*commands(document), *inline] if not _exists(words)]

    assert wrong == []


def test_options_that_do_not_exist_are_noticed() -> None:
    """The check above can fail: for a wrong program, command, and option."""
    assert _exists(["siem", "db", "upgrade", "--dry-run"])
    assert not _exists(["siem", "db", "upgrade", "--dry-ran"])
    assert not _exists(["siem", "db", "upgarde"])
    assert not _exists(["sudo", "-u", "siem", "siem", "db", "upgarde"])
    assert not _exists(["runuser", "-u", "siem", "--", "siem", "db", "upgarde"])
    assert not _exists(["/opt/siem/venv/bin/siem", "upgarde"])
    assert not _exists(["siem-admin", "db", "upgarde"])
    assert not _exists(["./deploy/down"])


def test_every_package_is_described() -> None:
    """The layout of worker/README.md names each package, in the order of the layers that CI holds."""
    text = (TOP / "worker" / "README.md").read_text()
    rows = text.partition("## Layout")[2].partition("## ")[0].splitlines()
    described = [
        name for row in rows if row.startswith("| ") for name in re.findall(r"`(\w+)`", row.split("|")[2])
    ]
    contracts = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    level = {name: number for number, layer in enumerate(layers) for name in layer.split(" | ")}

    assert set(described) == {path.parent.name for path in (TOP / "worker").glob("*/__init__.py")}
    assert [level[name] for name in described] == sorted(level[name] for name in described)


def test_the_changelog_describes_this_version() -> None:
    """Nothing is released without a word on it."""
    changelog = (TOP / ".github" / "CHANGELOG.md").read_text()

    assert f"\n## [{__version__}] - 20" in changelog


def test_pictures_load_nothing_from_elsewhere() -> None:
    """They are small, and show the same to every reader: no font and no picture of another server."""
    pictures = list((TOP / ".github" / "pictures").iterdir())
    drawn = [path.read_text() for path in pictures if path.suffix == ".svg"]

    assert max(path.stat().st_size for path in pictures) < LARGEST_PICTURE
    assert [found for text in drawn for found in re.findall(r"(?:href|src)=|@import|url\((?!#)", text)] == []


def _exists(words: list[str]) -> bool:
    """Whether a program is there and, of `siem`, each subcommand and option."""
    words = without_assignments(words)
    if words[:2] == ["sudo", "-u"]:
        return _exists(words[3:])
    if words[:2] == ["runuser", "-u"]:
        return _exists(words[4:])
    if words[0] in (
        "/opt/siem/venv/bin/siem",
        "siem-admin",
    ):  # where deploy/install puts it; deploy/siem-admin
        words = ["siem", *words[1:]]
    if words[0] != "siem":
        program = TOP / words[0]
        return words[0] in FOREIGN or ("/" in words[0] and program.is_file() and os.access(program, os.X_OK))
    command: click.Command | None = siem
    known = {"--help", "--version", "-"}  # the last is standard input
    for word in words[1:]:
        if word == "…":  # any of them
            break
        if isinstance(command, click.Group) and not word.startswith("-"):
            with click.Context(command) as context:
                command = command.get_command(context, word)
            if command is None:
                return False
            known |= {opt for one in command.params for opt in (*one.opts, *one.secondary_opts)}
        elif word.startswith("-") and word not in known:
            return False
    return True
