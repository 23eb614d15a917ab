"""The command of README.md that publishes with `redis-cli` works as it is printed."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import redis

from tests.embedded_servers import REDIS
from tests.project.documents import TOP, blocks
from worker.up.embedded import EmbeddedServer

# The other one adds lines from a file: tests/project/test_readme_commands.py.
[SHOWN] = [block for block in blocks(TOP / "README.md", "sh") if "XADD siem:events '*' event " in block]


def test_redis_cli_publishes_with_the_url_that_up_leaves(embedded: EmbeddedServer, data_dir: Path) -> None:
    """The URL in `redis.url` is one that redis-cli takes."""
    assert REDIS is not None
    embedded.start()
    environment = {**os.environ, "PATH": os.pathsep.join([str(REDIS.parent), os.environ["PATH"]])}
    done = subprocess.run(
        ["/bin/bash", "-c", SHOWN],
        cwd=data_dir.parent,
        env=environment,
        capture_output=True,
        timeout=90,
        check=True,
    )

    [event] = re.findall(r"'(\{.*\})'", SHOWN)
    with redis.Redis.from_url(embedded.url) as client:
        stands: Any = client.xrange("siem:events")
        assert stands == [(done.stdout.strip(), {b"event": event.encode()})]
