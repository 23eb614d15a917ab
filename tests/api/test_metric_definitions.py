"""Each metric is defined once: what Prometheus reads, and what the documentation says."""

import re
from pathlib import Path

import prometheus_client
from prometheus_client import Metric
from prometheus_client.registry import Collector

from worker.api.metric_definitions import METRICS
from worker.api.metric_registry import MetricRegistry
from worker.model.sources import Source

_TOP = Path(__file__).parents[2]
_BEGIN, _END = "<!-- metrics -->\n", "<!-- end -->"


class _Given(Collector):
    def __init__(self, *given: Metric) -> None:
        self._given = given

    def collect(self) -> tuple[Metric, ...]:
        return self._given


def test_no_label_breaks_out() -> None:
    """Quotes, backslashes and line feeds are escaped."""
    defined = MetricRegistry().of_integrations("a", "One.", "Always: look.")
    text = prometheus_client.generate_latest(
        _Given(defined.with_samples([({"tenant": 'a"b\\c\nd', "type": "x"}, 1)]))
    ).decode()

    assert '\nsiem_integration_a{tenant="a\\"b\\\\c\\nd",type="x"} 1.0\n' in text


def test_metrics_stand_one_after_the_other() -> None:
    """What it means and what to do, its kind, its samples; a line feed at the end."""
    registry = MetricRegistry()
    first = registry.of_fleet("siem_a", "One\nline \\ each.", "High: look.", label="x", values=("y", "z"))
    second = registry.of_fleet("siem_b_total", "None yet.", "High: look.")

    assert prometheus_client.generate_latest(
        _Given(first.of({"y": 0.5}), second.with_samples([]))
    ).decode() == (
        "# HELP siem_a One\\nline \\\\ each. High: look.\n# TYPE siem_a gauge\n"
        'siem_a{x="y"} 0.5\nsiem_a{x="z"} 0.0\n'
        "# HELP siem_b_total None yet. High: look.\n# TYPE siem_b_total counter\n"
    )


def test_a_value_that_is_not_known_is_exposed_too() -> None:
    """Behind those that always are: a later release may bring one."""
    defined = MetricRegistry().of_fleet("siem_a", "One.", "High: look.", label="x", values=("y",))

    assert [(one.labels, one.value) for one in defined.of({"new": 2}).samples] == [
        ({"x": "y"}, 0),
        ({"x": "new"}, 2),
    ]


def test_each_says_what_to_do() -> None:
    """A sentence on what it means; and of which value one must do what, short enough for a dashboard."""
    for metric in METRICS.all:
        assert re.fullmatch(r"siem_[a-z]+(_[a-z]+)*", metric.name)
        assert re.fullmatch(r"[A-Z0-9].*\.", metric.meaning), metric.name
        assert re.fullmatch(r"[^:]+: \S.*\.", metric.advice), metric.name
        assert len(metric.advice) <= 200, metric.name
        assert "|" not in metric.meaning + metric.advice, metric.name


def test_names_are_used_once() -> None:
    """And those of integrations, which have three labels more, are recognised by their names."""
    names = [one.name for one in METRICS.all]
    of_integrations = {one.name for one in METRICS.all if one.per_integration}

    assert len(names) == len(set(names)) == 59
    assert of_integrations == {
        one for one in names if one.startswith("siem_integration_") and one != "siem_integration_conflicts"
    }
    assert [one.name for one in METRICS.all if not one.sources] == [
        "siem_redis_up",
        "siem_database_up",
        "siem_retention_limit_seconds",
        "siem_api_requests_total",
        "siem_api_request_seconds",
    ]
    assert {source for one in METRICS.all for source in one.sources} == {Source.REDIS, Source.DATABASE}


def test_the_documentation_has_the_table() -> None:
    """Exactly as `METRICS.documentation()` returns it: paste that where this fails."""
    texts = [(_TOP / name).read_text() for name in ("README.md", "deploy/README.md")]
    [text] = [text for text in texts if _BEGIN in text]
    table = text.partition(_BEGIN)[2].partition(_END)[0]

    assert table == METRICS.documentation()
