"""The name of a worker says what it does and on which host, and no other worker has it."""

import pytest

from worker.broker.identity import node_name


@pytest.mark.parametrize(
    ("queues", "name"),
    [
        (["webhook"], "webhook-1a2b@host"),
        (["webhook", "splunk_hec"], "splunk_hec-webhook-1a2b@host"),
        ([], "all-1a2b@host"),
        (["webhook", "syslog_cef", "splunk_hec"], "all-1a2b@host"),
    ],
)
def test_the_types_are_named(queues: list[str], name: str) -> None:
    """In the order in which they stand everywhere else; all of them in a word."""
    assert node_name(queues, "host", "1a2b") == name
