"""A data directory has one master at a time, and the one who comes second learns what to do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.up.programs import is_free, wait_until
from worker.model.errors import AlreadyRunningError
from worker.up.data_dir_lock import DataDirLock, is_alive

_ORPHAN_MAKER = """\
import sys, time
from pathlib import Path
from worker.up.embedded import EmbeddedServer
from worker.up.data_dir_lock import DataDirLock
directory = Path(sys.argv[1])
server = EmbeddedServer(directory, DataDirLock(directory))
server.start()
print(server.pid, flush=True)
while True: time.sleep(60)
"""


@pytest.mark.usefixtures("possession")
def test_the_second_is_refused(data_dir: Path) -> None:
    """Who comes second learns who is first, how to end it, and how to run beside it."""
    with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}") as caught:
        DataDirLock(data_dir)
    assert "Ctrl-C" in str(caught.value)
    assert "SIEM_DATA_DIR" in str(caught.value)


def test_it_is_free_again_afterwards(data_dir: Path) -> None:
    """What the last one wrote into the lock file does not matter once it has let go."""
    with DataDirLock(data_dir):
        pass
    (data_dir / "lock").write_text("nonsense 99999")

    with DataDirLock(data_dir):
        assert (data_dir / "lock").read_text() == f"{os.getpid()}\n"


def test_an_orphaned_server_holds_the_directory(data_dir: Path) -> None:
    """A server whose `siem up` was killed keeps everyone out, and the refusal names it."""
    with subprocess.Popen(
        [sys.executable, "-c", _ORPHAN_MAKER, str(data_dir)], stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout
        orphan = int(maker.stdout.readline())
        maker.kill()
    try:
        with pytest.raises(AlreadyRunningError, match=f"kill {orphan}"):
            DataDirLock(data_dir)
    finally:
        os.kill(orphan, signal.SIGTERM)
    wait_until(lambda: is_free(data_dir / "lock"), "the orphan's end")

    with DataDirLock(data_dir):
        assert True


def test_whether_a_process_lives() -> None:
    """A process of ours lives, number zero and one that has ended do not."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass

    assert is_alive(os.getpid())
    assert is_alive(1)
    assert not is_alive(0)
    assert not is_alive(ended.pid)
