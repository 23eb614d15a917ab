"""Metrics of a whole fleet: each says what was done, whichever process is asked, killed or restarted.

And they are as Prometheus wants them: Debian's promtool reads them (`.ci/prometheus` brings it).
"""

import datetime as dt
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER
from tests.project.documents import TOP
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.webhook import WebhookReceiver, answers, takes
from tests.system.conftest import denial
from tests.system.test_shared_counters import api_of, settle
from tests.transports.certificates import server_context
from worker.api.metric_definitions import METRICS
from worker.api.metric_registry import MetricDefinition
from worker.broker.certificates import CertificateNotes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

_PROMTOOL = TOP / ".prometheus" / "usr" / "bin" / "promtool"
_TYPE = '{type="webhook"}'
#: Values that never fall, by how their names end.
_COUNTED = ("_total", "_count", "_sum", "_bucket")

Figures = dict[str, float]


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet of which nothing runs."""
    with Fleet(tmp_path, SIEM_METRICS_TOKEN="") as made:
        yield made


@pytest.fixture
def fleet(bare: Fleet) -> Fleet:
    """Give a fleet whose processes run."""
    return bare.start()


def scrape(url: str) -> str:
    """Return what Prometheus reads."""
    answer = httpx.get(f"{url}/metrics", trust_env=False, timeout=90)
    assert answer.status_code == 200
    return answer.text


def figures(url: str) -> Figures:
    """Return each value by its name and labels, as the text has them."""
    lines = [line for line in scrape(url).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def of(name: str, integration: str, kind: str, **more: str) -> str:
    """Name a series of an integration as the text does: labels in the order of their names."""
    labels = {"integration": f"int_{integration}", "tenant": "default", "type": kind, **more}
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"siem_integration_{name}{{{shown}}}"


def agreed(first: str, second: str, expected: Figures) -> Figures:
    """Wait until both processes tell these figures; return all that the first one tells."""

    def told() -> bool:
        return all(expected.items() <= figures(url).items() for url in (first, second))

    try:
        wait_until(told, "both tell the same")
    except AssertionError:
        found = [{name: figures(url).get(name) for name in expected} for url in (first, second)]
        assert found == [expected, expected]  # says which differ
    return figures(first)


def test_each_figure_is_what_was_done(fleet: Fleet) -> None:
    """Delivered, retried, dead and replayed; nothing falls when a recorder and a worker are killed."""
    ends = dt.datetime(2031, 2, 3, tzinfo=dt.UTC)
    tls = server_context(trustme.CA().issue_cert("127.0.0.1", not_after=ends))
    refused, taken = HecReceiver(scripts.first(1, scripts.busy())), WebhookReceiver(tls=tls)
    with refused, taken, api_of(fleet) as first, api_of(fleet) as second:
        fleet.integrate(taken.url, "hook", type="webhook", event_types=["policy.deny"], verify_tls=False)
        fleet.integrate(refused.url, redrive=False, event_types=["policy.deny"])
        ids = fleet.publish(denial(f"e{number}") for number in range(10))
        fleet.settled(10, "int_hook")
        fleet.settled(10, "int_splunk")
        attempts = fleet.requests("int_splunk")
        retried = float(sum(attempts.values()) - len(ids))
        done = {
            "siem_events_published_total": 10.0,
            f"siem_delivery_latency_seconds_count{_TYPE}": 10.0,
            'siem_delivery_latency_seconds_count{type="splunk_hec"}': 10.0,
            'siem_delivery_latency_seconds_count{type="syslog_cef"}': 0.0,
            of("attempts_total", "hook", "webhook", status="delivered", code="none"): 10.0,
            of("attempts_total", "hook", "webhook", status="dead", code="none"): 0.0,
            of("attempts_total", "splunk", "splunk_hec", status="delivered", code="none"): 10.0,
            of("attempts_total", "splunk", "splunk_hec", status="retried", code="destination_busy"): retried,
            of("retried_total", "splunk", "splunk_hec"): retried,
            of("dead_letters", "hook", "webhook"): 0.0,
            of("slots_leased", "hook", "webhook"): 0.0,
            of("certificate_expiry_timestamp_seconds", "hook", "webhook"): ends.timestamp(),
            'siem_processes_needed{role="worker-webhook"}': 1.0,
            'siem_processes_needed{role="worker-syslog_cef"}': 0.0,
            'siem_worker_threads_busy{queue="webhook"}': 0.0,
            'siem_build_info{version="hidden"}': 1.0,
            "siem_redis_evicted_keys_total": 0.0,
            "siem_redis_epoch_changes_total": 0.0,
            "siem_replayed_events_total": 0.0,
        }
        orders = 'siem_order_wait_seconds_count{queue="webhook"}'
        wait_until(lambda: figures(first)[orders] >= 1, "a worker has added what it counts")
        before = agreed(first, second, done)
        fleet.kill("recorder")
        fleet.kill(WORKER)
        taken.script = answers(400)
        fleet.start("recorder", WORKER)
        fleet.publish(denial(f"f{number}") for number in range(5))
        fleet.settled(15, "int_hook")
        fleet.settled(15, "int_splunk")
        codes = Counter(letter.error_code for letter in fleet.dead("int_hook"))
        died = {
            of("attempts_total", "hook", "webhook", status="dead", code=str(code)): float(count)
            for code, count in codes.items()
        }
        wait_until(lambda: figures(first)[of("dead_letters", "hook", "webhook")] == 5, "letters wait")
        after = agreed(
            first,
            second,
            {
                **died,
                f"siem_delivery_latency_seconds_count{_TYPE}": 10.0,
                'siem_delivery_latency_seconds_count{type="splunk_hec"}': 15.0,
                of("dead_letters", "hook", "webhook"): 5.0,
            },
        )
        taken.script = takes()
        made = fleet.siem_json("dead-letters", "replay", "--all", "--yes")
        replayed = agreed(
            first,
            second,
            {
                "siem_replayed_events_total": 5.0,
                'siem_replays{state="done"}': 1.0,
                of("dead_letters", "hook", "webhook"): 0.0,
                f"siem_delivery_latency_seconds_count{_TYPE}": 15.0,
            },
        )

    assert of("certificate_expiry_timestamp_seconds", "splunk", "splunk_hec") not in before
    assert made["total"] == 5
    assert sum(died.values()) == 5
    assert before['siem_worker_threads{queue="webhook"}'] > 8
    assert 0 < before["siem_redis_memory_bytes"] < 1 << 30
    assert before['siem_retention_limit_seconds{what="deliveries"}'] == 30 * 86_400
    assert 0 < after['siem_retention_oldest_seconds{what="deliveries"}'] < 600
    assert before[f"siem_delivery_latency_seconds_sum{_TYPE}"] > 0
    for earlier, later in ((before, after), (after, replayed)):
        assert {
            name: (value, later.get(name))
            for name, value in earlier.items()
            if name.partition("{")[0].endswith(_COUNTED) and later.get(name, 0.0) < value
        } == {}


def _families(metric: MetricDefinition) -> str:
    """Return the name by which a parser knows a metric."""
    return metric.name.removesuffix("_total")


def test_promtool_finds_nothing_to_say(bare: Fleet) -> None:
    """Of a fleet that has delivered; and a parser reads every metric with its kind."""
    with api_of(bare) as url:
        bare.integrate("https://splunk.example.com/services/collector/event")
        CertificateNotes(bare.client).note("int_splunk", 1_900_000_000.0)
        settle(bare, 1)
        wait_until(lambda: "siem_integration_latency_seconds{" in scrape(url), "it has a latency")
        text = scrape(url)
    found = {family.name: family.type for family in text_string_to_metric_families(text)}

    assert found == {_families(one): one.kind for one in METRICS.all}
    if not _PROMTOOL.is_file():
        pytest.skip("promtool is not here: run .ci/prometheus, which brings it")
    done = subprocess.run(
        [_PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, timeout=180, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
