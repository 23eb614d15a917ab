"""The example for Alertmanager: what follows from a cause is hidden behind it, in the same fleet alone.

Debian's Alertmanager reads its templates below /usr/share, where they are not: it gets a view of the file
system in which they are. That takes the right to mount.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.deploy.prometheus import FOLDER, alerts, program
from tests.fleet import wait_until
from tests.interop.programs import Program
from tests.ports import free_port
from tests.small_disk import NEEDS_SMALL_DISK

pytestmark = NEEDS_SMALL_DISK

#: A cause, what it hides, and labels that both have.
HIDDEN: list[tuple[dict[str, str], list[str], dict[str, str]]] = [
    (
        {"alertname": "SiemRedisDown"},
        [
            "SiemProcessMissing",
            "SiemRouterLate",
            "SiemErrorBudgetBurnFast",
            "SiemApiErrors",
            "SiemBreakerOpen",
        ],
        {},
    ),
    ({"alertname": "SiemDatabaseDown"}, ["SiemDatabaseNotWritable", "SiemApiSlow"], {}),
    ({"alertname": "SiemProcessMissing", "role": "recorder"}, ["SiemRecorderLate"], {}),
    ({"alertname": "SiemProcessMissing", "role": "worker-webhook"}, ["SiemOrdersWaiting"], {}),
    ({"alertname": "SiemRedisMemoryCritical"}, ["SiemRedisMemoryHigh"], {}),
    ({"alertname": "SiemErrorBudgetBurnFast"}, ["SiemErrorBudgetBurnSlow"], {"type": "webhook"}),
    ({"alertname": "SiemCertificateExpires"}, ["SiemCertificateExpiresSoon"], {"integration": "int_1"}),
    (
        {"alertname": "SiemBreakerOpen"},
        ["SiemIntegrationFailing", "SiemEventsParked"],
        {"integration": "int_1"},
    ),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of an Alertmanager that runs with the example."""
    directory, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    binary = program("prometheus-alertmanager")
    command: list[str | Path] = [
        *("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"'),
        *(binary.parents[1] / "share", binary),
        f"--config.file={FOLDER / 'alertmanager.yml'}",
        f"--storage.path={directory}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with Program(command, directory, tcp=[port]):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(url), "Alertmanager is ready")
        yield url


def test_a_cause_hides_what_follows_from_it(address: str) -> None:
    """Of the fleet that has the cause, and of no other."""
    given = list[dict[str, str]]()
    for number, (cause, hidden, common) in enumerate(HIDDEN):
        fleet = {"fleet": f"fleet-{number}", **common}
        given += [{**cause, **fleet}, *({"alertname": name, **fleet} for name in hidden)]
        given += [{"alertname": name, **fleet, "fleet": f"healthy-{number}"} for name in hidden]
    assert {one["alertname"] for one in given} <= {alert.name for alert in alerts()}
    answer = requests.post(f"{address}/api/v2/alerts", json=[{"labels": one} for one in given], timeout=90)
    assert answer.ok, answer.text

    wanted = {(name, f"fleet-{number}") for number, (_, hidden, _) in enumerate(HIDDEN) for name in hidden}
    wait_until(lambda: len(_alerts(address)) == len(given), "it has all alerts")
    wait_until(lambda: _inhibited(address) == wanted, f"{wanted} are hidden")


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/-/ready", timeout=90).ok
    except requests.ConnectionError:
        return False


def _alerts(address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(f"{address}/api/v2/alerts", timeout=90).json()
    return found


def _inhibited(address: str) -> set[tuple[str, str]]:
    return {
        (alert["labels"]["alertname"], alert["labels"]["fleet"])
        for alert in _alerts(address)
        if alert["status"]["inhibitedBy"]
    }
