"""What README.md and deploy/README.md show as commands works as it is printed, from top to bottom.

Only what differs everywhere is replaced: addresses (the API has a free port here), keys, ids.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.cli.running import call
from tests.embedded_servers import REDIS
from tests.fleet import wait_until
from tests.project.documents import TOP, blocks
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from worker.samples import sample_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

README = TOP / "README.md"
QUICK_START, FIRST, OTHERS, XADD, LINES, POST = blocks(README, "sh")
CREATE, COMMAND_LINE, PAUSE, LETTERS, AUDIT, SUBSCRIBE = blocks(TOP / "deploy" / "README.md", "sh")
[PYTHON] = blocks(README, "python")
KEY = r"siem_[0-9a-f]+_[0-9a-f]+"
NETWORK = "SIEM_ALLOWED_NETWORKS=127.0.0.0/8 ./deploy/up"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give a folder with what README takes for granted: the environment, some events, a token, a CA."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "events.jsonl").write_bytes(b"".join(line + b"\n" for line in sample_lines(20, run="readme")))
    (tmp_path / "token.txt").write_text("11111111-2222-3333-4444-5555555555f3\n")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path


def test_the_demo(home: Path) -> None:
    """The first command that a newcomer types; `--exit` ends it, for a test."""
    command = QUICK_START.splitlines()[0].partition("#")[0]
    environment = _environment(home)
    done = subprocess.run(
        ["/bin/bash", "-c", f"{command} --exit --events 1000"],
        cwd=TOP,
        env=environment,
        capture_output=True,
        check=True,
    )

    assert b"Every event is accounted for" in done.stdout


def test_the_first_integration_and_all_ways_to_publish(home: Path) -> None:
    """Each command succeeds, and what was published arrives."""
    with HecReceiver() as splunk, _up(home) as api:
        replaced = {
            "https://YOUR-SPLUNK:8088/services/collector/event": splunk.url,
            "http://localhost:8080": api,
        }
        assert re.findall(KEY, _bash(home, FIRST, replaced))
        _bash(home, OTHERS, replaced)
        [entry] = _bash(home, XADD, replaced).splitlines()
        assert re.fullmatch(r"\d+-\d+", entry)
        [lines] = _bash(home, LINES, replaced).splitlines()
        assert re.fullmatch(r"\d+-\d+", lines)
        [key] = re.findall(KEY, _bash(home, _publish_only(), {}))
        answer = json.loads(_bash(home, f"KEY={key}\n{POST}", replaced))
        assert (answer["accepted"], answer["refused"]) == (20, 0)
        subprocess.run([sys.executable, "-c", PYTHON], cwd=home, check=True)

        # Two different events, and those of the file.
        wait_until(lambda: splunk.accepted_ids.count("evt_1") == 2, "both arrive")
        splunk.wait_for_events(12)


def test_the_commands_of_operators(home: Path) -> None:
    """The same for deploy/README.md, beside an integration that refuses one of its events."""
    splunk_command = FIRST.partition("siem doctor")[0]
    with (
        HecReceiver(scripts.offender(lambda event: event.get("id") == "evt_1")) as splunk,
        _up(home) as api,
    ):
        _bash(home, splunk_command, {"https://YOUR-SPLUNK:8088/services/collector/event": splunk.url})
        [key] = re.findall(KEY, _bash(home, "siem api-keys create --name admin", {}))
        made = _bash(home, f"KEY={key}\n{CREATE}", {"http://127.0.0.1:8080": api})
        assert '"type":"webhook"' in made.replace(" ", "")
        _bash(home, COMMAND_LINE, {})
        _bash(home, PAUSE, {})
        _bash(home, XADD, {})
        letter = wait_until(lambda: _letter(home), "the refused event is a dead letter")
        splunk.script = scripts.ok()
        _bash(home, LETTERS, {"show ID": f"show {letter}", "--event-id EVENT": "--event-id evt_1"})
        splunk.wait_for_events(1)
        assert "integration.paused" in _bash(home, AUDIT, {})
        assert "integration.paused" in _bash(home, SUBSCRIBE, {})


def _letter(home: Path) -> str:
    listed = call(_environment(home), "dead-letters", "list", "--json").json["items"]
    return str(listed[0]["id"]) if listed else ""


def test_the_network_of_a_receiver_is_allowed_as_shown() -> None:
    """The command that the test above starts is the one of README."""
    assert f"`{NETWORK}`" in README.read_text()


def _publish_only() -> str:
    [command] = re.findall(r"`(siem api-keys create [^`]*publish-only)`", README.read_text())
    return str(command)


def _environment(home: Path) -> dict[str, str]:
    assert REDIS is not None
    path = os.pathsep.join([str(REDIS.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {"PATH": path, "SIEM_DATA_DIR": str(home / ".siem"), "SIEM_API_PORT": "0"}
    return {name: value for name, value in os.environ.items() if not name.startswith("SIEM_")} | given


@contextmanager
def _up(home: Path) -> Iterator[str]:
    """Start everything as README says; give the address of the API."""
    command = ["/bin/bash", "-c", NETWORK.replace("./deploy/up", "exec ./deploy/up")]
    with (home / "up.log").open("wb") as log:
        stack = subprocess.Popen(command, cwd=TOP, env=_environment(home), stdout=log, stderr=log)
    try:
        wait_until(lambda: "Stop:" in (home / "up.log").read_text(), "it is up")
        yield (home / ".siem" / "api.url").read_text().strip()
    finally:
        stack.send_signal(signal.SIGINT)
        stack.wait(120)


def _bash(home: Path, script: str, replaced: dict[str, str]) -> str:
    """Run a block; return what it prints. Fails with all of it if one command fails."""
    for shown, used in replaced.items():
        script = script.replace(shown, used)
    (home / "block.sh").write_text(f"shopt -s expand_aliases\nset -e\n{script}\n")
    done = subprocess.run(
        ["/bin/bash", "block.sh"],
        cwd=home,
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return done.stdout.decode()
