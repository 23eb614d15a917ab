"""What a metric is, when it has samples, and the list of all that are defined.

A metric is there whenever all of its sources answer, with a sample for each of the `values` of its label, 0
included: an alert on a metric that vanished would never fire. While Redis or the database is away, what comes
from it is left out; what has no source is always there. A metric that is `sparse` has no sample where there
is nothing to compute: a share of nothing is no number.

Names that end in `_total` are counters: they never fall, and are the same in every process of the API. All
others are gauges.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.samples import Sample

from worker.model.sources import Source

#: The labels of what is exposed of each integration.
INTEGRATION_LABELS = ("integration", "tenant", "type")
_COUNTER = "_total"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric. `values` are those of `label` that always have a sample."""

    name: str
    meaning: str
    advice: str
    sources: frozenset[Source]
    label: str
    values: tuple[str, ...]
    per_integration: bool
    sparse: bool

    def of(self, found: float | Mapping[str, float]) -> Metric:
        """Return the metric with one number, or a number for each value of its label."""
        if not isinstance(found, Mapping):
            return self.with_samples([({}, found)])
        values = dict.fromkeys([*self.values, *sorted(found)])
        return self.with_samples([({self.label: value}, found.get(value, 0)) for value in values])

    def with_samples(self, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
        """Return the metric with these samples, each with its labels."""
        kind = "counter" if self.name.endswith(_COUNTER) else "gauge"
        metric = Metric(self.name.removesuffix(_COUNTER), f"{self.meaning} {self.advice}", kind)
        metric.samples = [Sample(self.name, labels, value) for labels, value in samples]
        return metric


class MetricRegistry:
    """All metrics that were defined, in the order of the documentation."""

    def __init__(self) -> None:
        """Begin with none."""
        self.all: list[MetricDefinition] = []

    def of_fleet(
        self,
        name: str,
        meaning: str,
        advice: str,
        sources: Iterable[Source] = (Source.REDIS,),
        label: str = "",
        values: Iterable[str] = (),
    ) -> MetricDefinition:
        """Define one of the fleet as a whole; `label` is its only one."""
        named = (label, tuple(map(str, values)))
        return self._add(MetricDefinition(name, meaning, advice, frozenset(sources), *named, False, False))  # noqa: FBT003 - named above

    def of_integrations(
        self,
        name: str,
        meaning: str,
        advice: str,
        sources: Iterable[Source] = (Source.REDIS,),
        label: str = "",
        values: Iterable[str] = (),
        *,
        sparse: bool = False,
    ) -> MetricDefinition:
        """Define one of each integration; `label` stands beside INTEGRATION_LABELS."""
        named = (f"siem_integration_{name}", meaning, advice, frozenset(sources), label)
        return self._add(MetricDefinition(*named, tuple(map(str, values)), True, sparse))  # noqa: FBT003 - named above

    def documentation(self) -> str:
        """Return the table of the documentation, in Markdown."""
        rows = [f"| `{_shown(one)}` | {one.meaning} | {one.advice} |" for one in self.all]
        return "\n".join(("| Metric | Meaning | What to do |", "|---|---|---|", *rows, ""))

    def _add(self, defined: MetricDefinition) -> MetricDefinition:
        self.all.append(defined)
        return defined


def _shown(metric: MetricDefinition) -> str:
    return f"{metric.name}{{{metric.label}}}" if metric.label else metric.name
