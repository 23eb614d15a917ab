"""What deploy/prometheus has in it, and Debian's programs that read it (`.ci/prometheus` brings them)."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project.documents import TOP
from worker.api.metric_definitions import METRICS
from worker.api.metric_registry import INTEGRATION_LABELS, MetricDefinition

FOLDER = TOP / "deploy" / "prometheus"
RULES = sorted(FOLDER.glob("rules/*.yml"))
RULE_TESTS = sorted(FOLDER.glob("tests/*.yml"))
_PROGRAMS = TOP / ".prometheus" / "usr" / "bin"

#: What a scrape adds to each series, and `le`, which names the bucket of a histogram.
_SCRAPE_LABELS = {"job", "instance", "fleet", "le"}
_RECORDED = re.compile(r"\bsiem:[\w:]+")
_METRIC = re.compile(r"\b(siem_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_HISTOGRAM = ("_bucket", "_count", "_sum")


def program(name: str) -> Path:
    """Find the program; where it is not, the test is skipped, and says how to get it."""
    path = _PROGRAMS / name
    if not path.is_file():
        pytest.skip(f"{name} is not here: run .ci/prometheus, which brings it")
    return path


def checked(name: str, *arguments: str | Path) -> str:
    """Run a program that checks files; return what it prints. Fails with that if it is not content."""
    command = [program(name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Alert:
    """One alerting rule."""

    name: str
    file: Path
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]


def rules() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each rule of each file, recording ones as well."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield path, rule


def alerts() -> list[Alert]:
    """Return all alerts; some have several rules of one name."""
    return [
        Alert(rule["alert"], path, rule["expr"], rule["labels"], rule["annotations"])
        for path, rule in rules()
        if "alert" in rule
    ]


def recorded() -> set[str]:
    """Name the series that the recording rules make."""
    return {rule["record"] for _, rule in rules() if "record" in rule}


def unknown_in(expression: str) -> list[str]:
    """Name the metrics that a query asks for and that do not exist, and the labels that none of them has."""
    known = {one.name: one for one in METRICS.all}
    wrong = sorted(set(_RECORDED.findall(expression)) - recorded())
    # A recorded series has the labels of the rule that makes it: fleet and type.
    possible = _SCRAPE_LABELS | ({"type"} if _RECORDED.search(expression) else set())
    for name, matchers in _METRIC.findall(expression):
        metric = known.get(name) or known.get(_without_suffix(name))
        if metric is None:
            wrong.append(name)
            continue
        labels = _labels(metric) | _SCRAPE_LABELS
        possible |= labels
        wrong += [f"{name}{{{label}}}" for label in _MATCHER.findall(matchers) if label not in labels]
    return wrong + sorted(grouped_by(expression) - possible)


def grouped_by(expression: str) -> set[str]:
    """Return the labels by which a query groups or matches series."""
    lists = _GROUPING.findall(expression)
    return {label.strip() for labels in lists for label in labels.split(",")} - {""}


def _labels(metric: MetricDefinition) -> set[str]:
    return {*metric.labels, *(INTEGRATION_LABELS if metric.per_integration else ())}


def _without_suffix(name: str) -> str:
    """Return the name of the histogram that a series belongs to."""
    for suffix in _HISTOGRAM:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name
