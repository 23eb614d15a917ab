"""`deploy/install`: a release in a prefix, replaced at once, with the one before to go back to.

Most tests install a tiny project from an index of their own; one installs the real one.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.fleet import wait_until
from tests.project.package_index import PackageIndex

TOP = Path(__file__).parents[2]

#: Builds a wheel of the tiny project, in place of a backend that would have to be fetched.
BACKEND = """
import zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    code = open("worker/__init__.py").read()
    version = code.split('"')[1]
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(f"{directory}/tiny-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("worker/__init__.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: tiny\\nVersion: {version}\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nsiem = worker:main\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return f"tiny-{version}-py3-none-any.whl"
"""
CODE = """__version__ = "{version}"

def main():
    print(__version__)
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Checkout:
    """A tiny project with the real scripts, and a prefix to install it into."""

    def __init__(self, folder: Path) -> None:
        """Make it, without git."""
        self.top = folder / "a checkout"
        self.prefix = folder / "opt"
        (self.top / "worker").mkdir(parents=True)
        (self.top / "deploy").mkdir()
        for script in ("install", "venv.sh"):
            shutil.copy(TOP / "deploy" / script, self.top / "deploy")
        for name, text in (
            ("backend.py", BACKEND),
            ("pyproject.toml", PROJECT),
            ("README.md", ""),
            ("LICENSE", ""),
        ):
            (self.top / name).write_text(text)
        self._index = PackageIndex(folder / "index")
        (self.top / "deploy" / "requirements.lock").write_text(self._index.add("needed", "1.0") + "\n")

    def release(self, version: str, code: str = CODE) -> None:
        """Make the checkout this release."""
        (self.top / "worker" / "__init__.py").write_text(code.format(version=version))

    def install(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the script; without arguments, into the prefix."""
        return run_install(
            self.top,
            *(arguments or (str(self.prefix),)),
            environment={**self._index.environment(), **environment},
        )

    def installed(self) -> str:
        """Return the version that the prefix's command says it has."""
        return subprocess.check_output([self.prefix / "venv" / "bin" / "siem"], text=True).strip()

    def releases(self) -> list[str]:
        """Name the releases that the prefix holds."""
        return sorted(path.name for path in (self.prefix / "releases").iterdir())


def run_install(
    top: Path, *arguments: str, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run the script of a checkout."""
    return subprocess.run(
        [top / "deploy" / "install", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(top), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Give a project that was never installed."""
    made = Checkout(tmp_path)
    made.release("1.0")
    return made


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_upgrade_and_the_way_back(checkout: Checkout) -> None:
    """The link names a whole release at every moment; the one before stays, and one that still runs."""
    checkout.release("1.0", CODE + "    input()\n")
    script = checkout.top / "deploy" / "install"
    script.write_text(
        script.read_text().replace('siem" --version', 'python" --version')
    )  # the first one waits
    ran = checkout.install()
    assert ran.returncode == 0, ran.stderr
    [first] = checkout.releases()
    assert first.startswith("1.0-")
    running = subprocess.Popen(
        [checkout.prefix / "venv" / "bin" / "siem"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        checkout.release("1.1")
        assert checkout.install().returncode == 0
        assert checkout.installed() == "1.1"
        assert (checkout.prefix / "previous").readlink() == Path("releases", first)
        checkout.release("1.2")
        assert "processes still run from it" in checkout.install().stderr
        assert checkout.installed() == "1.2"
        assert [name[:3] for name in checkout.releases()] == ["1.0", "1.1", "1.2"]
    finally:
        running.communicate(b"\n")
    assert running.returncode == 0

    assert checkout.install("--rollback", str(checkout.prefix)).returncode == 0
    assert checkout.installed() == "1.1"
    # What is there is used again, without pip; by now no process runs from the oldest.
    assert checkout.install(PIP_INDEX_URL="file:///nowhere").returncode == 0
    assert checkout.installed() == "1.2"
    assert [name[:3] for name in checkout.releases()] == ["1.1", "1.2"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_cannot_be_installed_changes_nothing(checkout: Checkout) -> None:
    """Neither a release that does not start nor a package with other bytes is ever in use."""
    checkout.release("1.1", '__version__ = "{version}"\nraise SystemExit("broken")\n')
    broken = checkout.install()
    (checkout.top / "deploy" / "requirements.lock").write_text(f"needed==1.0 --hash=sha256:{'0' * 64}\n")
    forged = checkout.install()

    assert (broken.returncode, forged.returncode) == (1, 1)
    assert "broken" in broken.stderr
    assert "DO NOT MATCH THE HASHES" in forged.stderr
    assert "is as it was" in forged.stderr
    assert [path.name for path in checkout.prefix.iterdir()] == ["releases"]
    assert checkout.releases() == []


def test_wrong_arguments_are_explained(checkout: Checkout) -> None:
    """The message says what is expected, and nothing is touched."""
    for arguments, words in (
        (("--roll-back",), "there is no option --roll-back"),
        (("/a", "/b"), "one PREFIX is expected"),
        (("",), "PREFIX is empty"),
    ):
        ran = checkout.install(*arguments)
        assert ran.returncode == 2, arguments
        assert words in ran.stderr

    help_text = checkout.install("--help")
    assert help_text.returncode == 0
    assert "--rollback" in help_text.stdout
    nowhere = checkout.install("--rollback", str(checkout.prefix))
    assert nowhere.returncode == 1
    assert "there is no previous release" in nowhere.stderr


@pytest.fixture
def two_releases(checkout: Checkout) -> Checkout:
    """Give a prefix with two releases that were not installed: 2.0 is in use, 1.0 the one before."""
    for link, version in (("venv", "2.0"), ("previous", "1.0")):
        commands = checkout.prefix / "releases" / version / "bin"
        commands.mkdir(parents=True)
        (commands / "siem").write_text(f"#!/bin/sh\necho {version}\n")
        (commands / "siem").chmod(0o755)
        (commands / "python").symlink_to(sys.executable)
        (checkout.prefix / link).symlink_to(f"releases/{version}")
    return checkout


def test_who_is_killed_while_going_back_has_gone_back(two_releases: Checkout, tmp_path: Path) -> None:
    """Between the two links: the release to go back to is never forgotten."""
    move = tmp_path / "bin" / "mv"
    move.parent.mkdir()
    move.write_text(f'#!/bin/sh\n{shutil.which("mv")} "$@"\nkill -9 $PPID\n')
    move.chmod(0o755)
    killed = two_releases.install(
        "--rollback", str(two_releases.prefix), PATH=f"{move.parent}:{os.environ['PATH']}"
    )
    again = two_releases.install("--rollback", str(two_releases.prefix))

    assert killed.returncode == -SIGKILL
    assert two_releases.installed() == "1.0"
    assert again.returncode == 1
    assert "there is no previous release" in again.stderr


def test_going_back_waits_for_who_installs(two_releases: Checkout) -> None:
    """Else the one's links come between the other's."""
    held = os.open(two_releases.prefix / "releases", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with ThreadPoolExecutor() as pool:
            back = pool.submit(two_releases.install, "--rollback", str(two_releases.prefix))
            try:
                wait_until(lambda: _waits_for(held), "it waits for the lock")
                before = two_releases.installed()
            finally:
                fcntl.flock(held, fcntl.LOCK_UN)
            assert back.result().returncode == 0
    finally:
        os.close(held)

    assert (before, two_releases.installed()) == ("2.0", "1.0")


@pytest.mark.parametrize(("there", "refused"), [("frames", True), ("frames shared-chunks", False)])
def test_going_back_is_refused_while_entries_are_left_that_only_this_release_reads(
    two_releases: Checkout, there: str, *, refused: bool
) -> None:
    """They would be dead letters of the previous one, unless it reads them, too."""
    prefix = two_releases.prefix
    for link, readable in (("venv", "frames shared-chunks"), ("previous", there)):
        _program(prefix / link / "bin" / "python", f'case "$*" in *READABLE*) echo {readable};; esac')
    siem = prefix / "venv" / "bin" / "siem"

    _program(siem, "echo asked: $*; exit 1")
    ran = two_releases.install("--rollback", str(prefix), SIEM_ETC="/nowhere")
    assert (ran.returncode, "asked: redis formats --hold" in ran.stderr) == (int(refused), refused)
    assert ((prefix / "venv").readlink().name == "2.0") == refused
    if refused:
        siem.write_text("#!/bin/sh\nexit 3\n")
        unknown = two_releases.install("--rollback", str(prefix), SIEM_ETC="/nowhere")
        assert (unknown.returncode, "Redis cannot be asked" in unknown.stderr) == (0, True)


def _program(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _waits_for(held: int) -> bool:
    """Whether a process waits for the lock on this open file, by what the kernel says."""
    inode = f":{os.fstat(held).st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_prefix_that_cannot_be_used_is_named(checkout: Checkout, tmp_path: Path) -> None:
    """A file in the way, and a venv of somebody else, which must not be lost."""
    (tmp_path / "file").touch()
    (checkout.prefix / "venv").mkdir(parents=True)

    for prefix, words in (
        (tmp_path / "file" / "siem", "cannot write to"),
        (checkout.prefix, "is no symbolic link"),
    ):
        ran = checkout.install(str(prefix))
        assert ran.returncode == 1
        assert words in ran.stderr
    assert (checkout.prefix / "venv").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_release_is_whole(tmp_path: Path) -> None:
    """From a copy without git, as an image is built: it stands alone, and every module is compiled."""
    top, prefix = tmp_path / "checkout", tmp_path / "opt"
    for folder in ("worker", "deploy"):
        shutil.copytree(TOP / folder, top / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE", "Procfile"):
        shutil.copy(TOP / file, top)
    pip = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP", "http"))
    }

    ran = run_install(top, str(prefix), environment={**pip, "HOME": os.environ.get("HOME", "/")})

    assert ran.returncode == 0, ran.stderr
    programs = prefix / "venv" / "bin"
    assert "0." in subprocess.check_output([programs / "siem", "--version"], text=True)
    # A command keeps its release although the link is replaced while it runs.
    interpreter = (programs / "siem").read_text().splitlines()[0].removeprefix("#!")
    code = "import worker; print(worker.__file__)"
    found = subprocess.check_output([interpreter, "-I", "-c", code], text=True, cwd=TOP)
    assert found.startswith(str(prefix / "releases"))
    assert (prefix / "venv" / "share" / "siem" / "siem.env.example").is_file()
    uncompiled = [
        path
        for path in (prefix / "venv" / "lib").rglob("*.py")
        if not (path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc").is_file()
    ]
    assert uncompiled == []
