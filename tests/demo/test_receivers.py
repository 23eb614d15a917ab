"""The demo's receivers: which there are, and what a receiver says that it has."""

from collections import Counter
from pathlib import Path

from tests.demo.running import starter
from worker.demo.receivers import demo_receivers, forget_ports, listening, received
from worker.samples import sample_lines


def test_every_way_is_played() -> None:
    """Each type of destination has its receiver, syslog by TCP and by UDP, and no two share a secret."""
    roles = demo_receivers()
    secrets = Counter(word for role in roles for word in role.options if len(word) >= 16)
    ways = {str(role.destination["url"]).partition("://")[0] for role in roles}

    assert {role.destination["type"] for role in roles} == {"splunk_hec", "syslog_cef", "webhook"}
    assert ways == {"http", "syslog", "syslog+udp"}
    assert sorted(secrets.values()) == [1] * 5


def test_a_receiver_says_what_it_has(tmp_path: Path) -> None:
    """Different events are counted; one that has ended says nothing, and its port is forgotten."""
    [role] = [role for role in demo_receivers() if role.name == "webhook"]
    with starter("webhook_receiver", tmp_path / "webhook.port")() as receiver:
        for event in [*sample_lines(3), *sample_lines(2)]:
            receiver.post(event)

        assert received(role, tmp_path) == 3
    assert received(role, tmp_path) is None
    assert listening([role], tmp_path)
    forget_ports([role], tmp_path)
    assert not listening([role], tmp_path)
