"""The scripts that set everything up, and the lock files that they install from."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.project.package_index import PackageIndex

TOP = Path(__file__).parent.parent.parent
RUNTIME = TOP / "deploy" / "requirements.lock"
DEVELOPMENT = TOP / "deploy" / "requirements-dev.lock"
SCRIPTS = [TOP / name for name in ("deploy/up", "deploy/install", "deploy/lock", "tests/run", ".ci/run")]

_PIN = re.compile(r"^([a-z0-9-]+)(?:\[[a-z,-]+\])?==([^ ;]+)(.*)$", re.MULTILINE)


@pytest.mark.parametrize("script", [*SCRIPTS, TOP / "deploy" / "venv.sh"], ids=lambda path: path.name)
def test_scripts_can_be_read(script: Path) -> None:
    """The shell finds no mistake in the grammar of any script."""
    subprocess.run(["/bin/bash", "-n", script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run(script: Path) -> None:
    """Each script that people start may be started."""
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT], ids=lambda path: path.name)
def test_locks_name_no_place(lock: Path) -> None:
    """A lock says what and which bytes, never where from: that is for each machine to say."""
    text = lock.read_text()

    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    assert " @ " not in text


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT], ids=lambda path: path.name)
def test_every_pin_has_its_hashes(lock: Path) -> None:
    """Nothing is installed whose bytes are not known."""
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())

    assert [entry.partition(" ")[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_locks_cover_what_the_project_names() -> None:
    """A dependency that was added without `deploy/lock` is noticed here, not on someone's machine."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    backend = _names(project["build-system"]["requires"])

    assert _names(project["project"]["dependencies"]) | backend <= _pins(RUNTIME).keys()
    assert _names(project["project"]["optional-dependencies"]["dev"]) <= _pins(DEVELOPMENT).keys()


def test_who_can_test_can_run() -> None:
    """The lock for tests holds the other one, at the very same versions."""
    assert _pins(RUNTIME).items() <= _pins(DEVELOPMENT).items()


def test_without_python_the_script_says_what_is_missing(tmp_path: Path) -> None:
    """Without a Python that is new enough, the script says so, and touches nothing."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "env", "dirname", "basename", "cat", "cksum"):
        (tools / tool).symlink_to(shutil.which(tool) or f"/usr/bin/{tool}")
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    checkout = _copy_of_scripts(tmp_path / "a checkout")

    done = subprocess.run(
        [checkout / "deploy" / "up"], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_reported(tmp_path: Path) -> None:
    """A Python that lacks parts of its standard library is named, with what it lacks."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11", "python3.14", "python"):
        stripped = tools / name
        stripped.write_text('#!/bin/sh\ncase $1 in -I) echo "venv ensurepip" ;; esac\n')
        stripped.chmod(0o755)
    checkout = _copy_of_scripts(tmp_path / "a checkout")
    environment = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    done = subprocess.run(
        [checkout / "deploy" / "up"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{tools / 'python3'} lacks: venv ensurepip" in done.stderr
    assert "python3-venv" in done.stderr


def test_what_is_set_up_is_not_set_up_again(tmp_path: Path) -> None:
    """With .venv in step with the lock, `deploy/up` hands over at once, from any directory."""
    checkout = _copy_of_scripts(tmp_path / "a checkout")
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "siem"):
        (programs / name).write_text('#!/bin/sh\necho "$SIEM_DATA_DIR" "$@"\n')
        (programs / name).chmod(0o755)
    _in_checkout(checkout, "leave_stamps deploy/requirements-dev.lock")

    done = subprocess.run(
        [checkout / "deploy" / "up", "--some", "an argument"],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{checkout / '.siem'} up --some an argument\n"
    assert done.stderr == ""


@pytest.mark.parametrize("changed", ["deploy/requirements.lock", "pyproject.toml"])
def test_a_change_is_noticed(tmp_path: Path, changed: str) -> None:
    """A lock or a project that has changed since makes the installation out of date."""
    checkout = _copy_of_scripts(tmp_path)
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "siem"):
        (checkout / ".venv" / "bin" / name).touch(0o755)
    _in_checkout(checkout, "leave_stamps deploy/requirements.lock; is_current deploy/requirements.lock")
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")

    with pytest.raises(subprocess.CalledProcessError):
        _in_checkout(checkout, "is_current deploy/requirements.lock")


@pytest.mark.slow
def test_an_install_from_a_lock_resolves_nothing(tmp_path: Path) -> None:
    """A release that came after the lock was made changes nothing, though a pinned package wants its name.

    pip in hash mode would resolve `needed[extra]`, which no pin fulfils by that name, to the newest release,
    and give up for want of its hash. Since nothing is resolved, a check finds what is missing, and names it.
    """
    index = PackageIndex(tmp_path / "index")
    wanting = index.add("wanting", "1.0", requires=["needed[extra]>=1.0"])
    needed = index.add("needed", "1.0", extras=["extra"])
    index.add("needed", "1.1", extras=["extra"])
    checkout = _copy_of_scripts(tmp_path / "a checkout")

    (checkout / "tiny.lock").write_text(f"{wanting}\n")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        _install_pins(checkout, index)
    (checkout / "tiny.lock").write_text(f"{wanting}\n{needed}\n")
    _install_pins(checkout, index)

    assert "requires needed, which is not installed" in failed.value.stdout
    [installed] = checkout.glob(".venv/lib/*/site-packages/needed-*.dist-info")
    assert installed.name == "needed-1.0.dist-info"


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT], ids=lambda path: path.name)
def test_locks_keep_extras(lock: Path) -> None:
    """A lock without them tells another installer to resolve `coverage[toml]` by itself."""
    assert "\npsycopg[binary]==" in lock.read_text()


def test_the_first_run_says_what_it_does(tmp_path: Path) -> None:
    """Setting up takes a minute: each step is announced, and the packages are counted."""
    said = "".join(f"Collecting p{number}==1\n" for number in range(20))
    checkout = _copy_of_scripts(tmp_path)
    ran = subprocess.run(
        ["/bin/bash", "-euc", "source deploy/venv.sh; show_progress 20"],
        input=f"== fetching the locked packages\n{said}Installing collected packages: p1, p2\n",
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.strip() for line in ran.stdout.splitlines()] == [
        "fetching the locked packages…",
        "packages: 10 of 20",
        "packages: 20 of 20",
        "installing them…",
    ]


def _install_pins(checkout: Path, index: PackageIndex) -> None:
    """Install tiny.lock as the scripts do, from that index alone."""
    subprocess.run(
        ["/bin/bash", "-euc", "source deploy/venv.sh; find_python; renew_venv; install_pins tiny.lock"],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "HOME": str(checkout), **index.environment()},
        capture_output=True,
        text=True,
        check=True,
    )


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", name)[0].lower().replace("_", "-") for name in requirements}


def _pins(lock: Path) -> dict[str, str]:
    return {name: version for name, version, _ in _PIN.findall(lock.read_text())}


def _copy_of_scripts(checkout: Path) -> Path:
    shutil.copytree(TOP / "deploy", checkout / "deploy")
    shutil.copy(TOP / "pyproject.toml", checkout)
    return checkout.resolve()


def _in_checkout(checkout: Path, functions: str) -> None:
    subprocess.run(["/bin/bash", "-euc", f"source deploy/venv.sh; {functions}"], cwd=checkout, check=True)
