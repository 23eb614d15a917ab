"""What the tests of the demonstration share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.demo.running import Running, Start, launch, wait_for_port


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return what starts a receiver with options and stops it at the end of its `with` block."""

    @contextmanager
    def started(*options: str) -> Iterator[Running]:
        port_file = tmp_path / "port"
        with launch(port_file, *options) as process:
            try:
                yield Running(process, wait_for_port(process, port_file))
            finally:
                process.terminate()

    return started
