"""What the tests of the demonstration share."""

from pathlib import Path

import pytest

from tests.demo.running import Start, starter


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return what starts a Splunk with options and stops it at the end of its `with` block."""
    return starter("splunk_receiver", tmp_path / "port")


@pytest.fixture
def start_syslog(tmp_path: Path) -> Start:
    """Return what starts a syslog receiver likewise."""
    return starter("syslog_receiver", tmp_path / "port")


@pytest.fixture
def start_webhook(tmp_path: Path) -> Start:
    """Return what starts an endpoint for webhooks likewise."""
    return starter("webhook_receiver", tmp_path / "port")
