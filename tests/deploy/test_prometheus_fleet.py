"""A real Prometheus beside a real fleet: it scrapes, evaluates, and speaks when a worker is gone."""

import re
from collections.abc import Iterator

import pytest

from tests.deploy.prometheus import RULES, rules
from tests.deploy.prometheus_server import PrometheusServer
from tests.deploy.test_grafana import DASHBOARDS, filled, queries
from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial

pytestmark = pytest.mark.slow

_TOKEN = "token-of-prometheus"
_ROLES = ("router", "recorder", "worker-splunk_hec", "api")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a fleet that has delivered something, with its API."""
    with (
        HecReceiver() as splunk,
        Fleet(tmp_path_factory.mktemp("fleet"), SIEM_METRICS_TOKEN=_TOKEN) as running,
    ):
        running.start(*_ROLES)
        running.integrate(splunk.url)
        running.publish([denial(f"evt-{number}") for number in range(20)])
        running.settled(20)
        yield running


@pytest.fixture(scope="module")
def prometheus(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Give a Prometheus that has scraped the fleet and evaluated every rule."""
    listening = wait_until(
        lambda: re.search(r"listening at http://(\S+)", fleet.log("api")), "the API listens"
    )
    directory = tmp_path_factory.mktemp("prometheus") / "own"
    with PrometheusServer(directory, listening[1], _TOKEN) as running:
        wait_until(running.is_up, "Prometheus is up")
        wait_until(running.healthy_targets, "it scrapes the API")
        wait_until(running.evaluated, "each rule was evaluated")
        yield running


def test_rules_are_evaluated_without_an_error(prometheus: PrometheusServer) -> None:
    """None fails on what is really exposed, as one that finds two series where it may have one."""
    found = prometheus.rules()

    assert {rule["name"]: rule["lastError"] for rule in found if rule["health"] != "ok"} == {}
    assert len(found) == len(list(rules()))
    assert len({rule["name"] for rule in found}) > len(RULES)


def test_a_healthy_fleet_alerts_nobody(prometheus: PrometheusServer) -> None:
    """The series that alerts rest on are there, and none of them is pending."""
    wait_until(lambda: prometheus.query("siem:deliveries:total > 0"), "deliveries are recorded")

    # A scrape may time out on a busy machine: that alert is over with the next one.
    wait_until(lambda: not prometheus.names() | prometheus.names("pending"), "no alert is pending")
    assert prometheus.query('siem_processes{role="router", fleet="main"} == 1')


def test_dashboards_have_answers(prometheus: PrometheusServer) -> None:
    """Prometheus takes each query, and most have something to show of a fleet that works."""
    answers = {
        (path.stem, title): prometheus.query(filled(query["expr"], integration="int_splunk"))
        for path in DASHBOARDS
        for title, query in queries(path)
    }

    assert sum(map(bool, answers.values())) > len(answers) // 2, [
        key for key, found in answers.items() if not found
    ]


def test_a_missing_worker_pages_until_it_is_back(fleet: Fleet, prometheus: PrometheusServer) -> None:
    """The alert names the role, and ends by itself."""
    fleet.kill("worker-splunk_hec")

    def missing() -> list[str]:
        return [
            alert["labels"]["role"]
            for alert in prometheus.alerts()
            if alert["labels"]["alertname"] == "SiemProcessMissing"
        ]

    assert wait_until(missing, "it fires") == ["worker-splunk_hec"]
    fleet.start("worker-splunk_hec")
    wait_until(lambda: not prometheus.names(), "it has ended")
