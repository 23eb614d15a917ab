"""What a metric is, when it has samples, and the list of all that are defined.

A metric is there whenever all of its sources answer, with a sample for each of the `values` of its label, 0
included: an alert on a metric that vanished would never fire. While Redis or the database is away, what comes
from it is left out; what has no source is always there. A metric that is `sparse` has no sample where there
is nothing to compute: a share of nothing is no number.

Names that end in `_total` are counters: they never fall. What has `buckets` is a histogram, whose counts
never fall either. All others are gauges. What comes from Redis or the database is the same in every process
of the API; what has no source is of the process that is scraped.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from worker.model.histograms import Histogram
from worker.model.sources import Source

#: The labels of what is exposed of each integration.
INTEGRATION_LABELS = ("integration", "tenant", "type")
_COUNTER = "_total"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric. `values` are those of `label` that always have a sample; `others` are further labels.

    `buckets` are the upper bounds of those of a histogram, in seconds, without the last one.
    """

    name: str
    meaning: str
    advice: str
    sources: frozenset[Source]
    label: str
    values: tuple[str, ...]
    per_integration: bool
    sparse: bool
    others: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """What Prometheus calls this kind of metric."""
        if self.buckets:
            return "histogram"
        if self.label == "quantile":
            return "summary"
        return "counter" if self.name.endswith(_COUNTER) else "gauge"

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels, those of integrations left out."""
        return (*([self.label] if self.label else ()), *self.others)

    def of(self, found: float | Mapping[str, float]) -> Metric:
        """Return the metric with one number, or a number for each value of its label."""
        if not isinstance(found, Mapping):
            return self.with_samples([({}, found)])
        values = dict.fromkeys([*self.values, *sorted(found)])
        return self.with_samples([({self.label: value}, found.get(value, 0)) for value in values])

    def with_samples(self, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
        """Return the metric with these samples, each with its labels."""
        metric = Metric(self.name.removesuffix(_COUNTER), f"{self.meaning} {self.advice}", self.kind)
        metric.samples = [Sample(self.name, labels, value) for labels, value in samples]
        return metric

    def with_histograms(self, found: Mapping[str, Histogram]) -> Metric:
        """Return the metric with a histogram for each value of its label, those not found included."""
        metric = self.with_samples(())
        empty = Histogram.empty(len(self.buckets))
        for value in dict.fromkeys([*self.values, *sorted(found)]):
            metric.samples += self._histogram({self.label: value}, found.get(value, empty))
        return metric

    def _histogram(self, labels: dict[str, str], found: Histogram) -> Iterable[Sample]:
        bounds = (*map(floatToGoString, self.buckets), "+Inf")
        for bound, count in zip(bounds, found.cumulative(), strict=True):
            yield Sample(f"{self.name}_bucket", {**labels, "le": bound}, count)
        yield Sample(f"{self.name}_count", labels, found.count)
        yield Sample(f"{self.name}_sum", labels, found.seconds)


class MetricRegistry:
    """All metrics that were defined, in the order of the documentation."""

    def __init__(self) -> None:
        """Begin with none."""
        self.all: list[MetricDefinition] = []

    def of_fleet(  # noqa: PLR0913 - one for each property of a metric
        self,
        name: str,
        meaning: str,
        advice: str,
        sources: Iterable[Source] = (Source.REDIS,),
        label: str = "",
        values: Iterable[str] = (),
        *,
        others: Sequence[str] = (),
        buckets: Sequence[float] = (),
        sparse: bool = False,
    ) -> MetricDefinition:
        """Define one of the fleet as a whole; `label` is its only one but for the `others`."""
        named = (name, meaning, advice, frozenset(sources), label, tuple(map(str, values)))
        return self._add(MetricDefinition(*named, False, sparse, tuple(others), tuple(buckets)))  # noqa: FBT003 - named above

    def of_integrations(  # noqa: PLR0913 - the same
        self,
        name: str,
        meaning: str,
        advice: str,
        sources: Iterable[Source] = (Source.REDIS,),
        label: str = "",
        values: Iterable[str] = (),
        *,
        others: Sequence[str] = (),
        sparse: bool = False,
    ) -> MetricDefinition:
        """Define one of each integration; `label` and the `others` stand beside INTEGRATION_LABELS."""
        named = (f"siem_integration_{name}", meaning, advice, frozenset(sources), label)
        return self._add(MetricDefinition(*named, tuple(map(str, values)), True, sparse, tuple(others)))  # noqa: FBT003 - named above

    def include(self, other: "MetricRegistry") -> None:
        """Have what another one defines follow."""
        self.all += other.all

    def documentation(self) -> str:
        """Return the table of the documentation, in Markdown."""
        rows = [f"| `{_shown(one)}` | {one.meaning} | {one.advice} |" for one in self.all]
        return "\n".join(("| Metric | Meaning | What to do |", "|---|---|---|", *rows, ""))

    def _add(self, defined: MetricDefinition) -> MetricDefinition:
        self.all.append(defined)
        return defined


def _shown(metric: MetricDefinition) -> str:
    return f"{metric.name}{{{','.join(metric.labels)}}}" if metric.label else metric.name
