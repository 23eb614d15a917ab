"""What a worker does before its first order."""

import os
import subprocess
import sys
from pathlib import Path

_STARTS = """
import sys
from types import SimpleNamespace
from worker import celery
app = celery.app
app.amqp.queues.select(["splunk_hec"])
celery._load_senders(SimpleNamespace(app=app))
print(*sorted(name for name in sys.modules if name.endswith(".sender")))
"""


def test_a_worker_imports_the_senders_of_its_queues_at_its_start(tmp_path: Path) -> None:
    """The first batch does not wait for that; those of other queues are left out."""
    environment = {**os.environ, "SIEM_REDIS_URL": "redis://127.0.0.1:1/0", "SIEM_DATA_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", _STARTS], env=environment, capture_output=True, text=True, check=False
    )

    assert ran.stdout.split() == ["worker.destinations.splunk_hec.sender"], ran.stderr
