"""How fast a fleet is and what it costs: each case several times, as a table and as JSON.

Every run has a fleet of its own, which delivers a warm-up first. The table has medians; the JSON has every
run as well, and the least and the most. `--against REV` alternates, run by run, with the code of another
commit, `--peers` with syslog-ng and rsyslog (`.ci/peers` brings them), on the same events and the same
receivers. Both print ratios: on a shared machine only those mean something.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.cases import CASES, limit
from tests.benchmarks.fleet_reports import Runs, as_document, as_table
from tests.benchmarks.fleet_runs import RECEIVERS
from tests.benchmarks.measuring import hardware

_TOP = Path(__file__).parents[2]
_GIT = shutil.which("git") or "git"
#: How much longer than its limit a run may take to end what it started, in seconds.
_TO_END = 30
OURS = "ours"


def main(words: Sequence[str] | None = None) -> None:
    """Measure what was asked for; print the table, and write the JSON. The status is 1 if a run failed."""
    given = _arguments(words)
    if given.peers and (what := peers.missing()):
        sys.exit(what)
    with ExitStack() as stack:
        tops = {OURS: _TOP}
        if given.against:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siem-bench-")))
            tops[given.against] = unpack(given.against, folder)
        runs, failures = measure(given, tops)
    document = {"hardware": hardware(), "revision": _revision("HEAD"), "options": vars(given)}
    document |= {"cases": as_document(runs), "failures": failures}
    if given.json:
        Path(given.json).write_text(json.dumps(document, indent=2) + "\n")
    sys.stdout.write(as_table(runs))
    sys.exit("\n".join(failures) or 0)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    named = "\n".join(f"  {name:<18} {case.what}" for name, case in CASES.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"cases:\n{named}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=CASES, default=[*CASES], help="which (default: all)")
    parser.add_argument("--runs", type=int, default=3, help="of each case (default 3)")
    parser.add_argument("--events", type=int, default=100_000, help="of a run; some take a share (100000)")
    parser.add_argument("--filled", type=int, default=1_000_000, help="rows of a full ledger (1000000)")
    parser.add_argument("--against", metavar="REV", help="alternate with this commit, and print ratios")
    parser.add_argument("--peers", action="store_true", help="alternate with syslog-ng and rsyslog")
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    return parser.parse_args(words)


def measure(given: argparse.Namespace, tops: dict[str, Path]) -> tuple[Runs, list[str]]:
    """Run all cases, one system after the other in each round, the other way round in the next."""
    runs: Runs = defaultdict(lambda: defaultdict(list))
    failures = []
    for case in given.case:
        systems = [*tops, *(name for name in peers.NAMES if given.peers and peers.measures(name, case))]
        for number in range(given.runs):
            for system in systems if number % 2 == 0 else systems[::-1]:
                try:
                    runs[case][system].append(_run(case, system, given, tops.get(system, _TOP)))
                except RunFailed as error:
                    failures.append(f"{case}, {system}: {error}")
    return runs, failures


class RunFailed(Exception):
    """A run did not come to its end; the message is what it said last."""


def _run(case: str, system: str, given: argparse.Namespace, top: Path) -> dict[str, float]:
    """Measure a case once, in a process of its own with the code at `top`. Raises RunFailed."""
    sys.stderr.write(f"{case}, {system}\n")
    command = [sys.executable, "-m", "tests.benchmarks.cases", case]
    command += ["--events", str(given.events), "--filled", str(given.filled)]
    command += ["--peer", system] if system in peers.NAMES else []
    environment = {**os.environ, "PYTHONPATH": str(top), RECEIVERS: str(_TOP)}
    with subprocess.Popen(
        command, cwd=top, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=limit(case, given.filled) + _TO_END)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise RunFailed(err[-1500:])
    figures: dict[str, float] = json.loads(out.splitlines()[-1])
    return figures


def unpack(revision: str, folder: Path) -> Path:
    """Put the code of a commit into the folder, with the benchmarks of this one; return the folder.

    Its packages are those of this virtual environment. What it takes of the tests, such as how a fleet is
    started, is the commit's own. Exits if there is no such commit.
    """
    done = subprocess.run([_GIT, "archive", _revision(revision)], cwd=_TOP, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"--against: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    shutil.copytree(_TOP / "tests/benchmarks", folder / "tests/benchmarks", dirs_exist_ok=True)
    shutil.copy(_TOP / "tests/interop/programs.py", folder / "tests/interop/programs.py")
    return folder


def _revision(name: str) -> str:
    command = [_GIT, "rev-parse", "--verify", "--short", f"{name}^{{commit}}"]
    done = subprocess.run(command, cwd=_TOP, capture_output=True, text=True, check=False)
    return done.stdout.strip() or name


if __name__ == "__main__":
    main()
