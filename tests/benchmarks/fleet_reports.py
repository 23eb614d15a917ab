"""Makes documents and tables of what the runs have measured: medians, extremes, ratios of one run."""

from statistics import median
from typing import Any

from tests.benchmarks.cases import CASES

#: Case → system (`ours` is the first) → figures of each run.
Runs = dict[str, dict[str, list[dict[str, float]]]]

#: Figure → heading of its column; all others stand in the last one, by name.
_COLUMNS = {
    "per_second": "a second",
    "cpu_us": "CPU µs",
    "cpu_us_publisher": "publisher",
    "cpu_us_router": "router",
    "cpu_us_redis": "Redis",
    "cpu_us_worker": "worker",
    "cpu_us_recorder": "recorder",
}
_LEFT_OUT = {"deliveries", "seconds"}


def as_document(runs: Runs) -> dict[str, Any]:
    """Return all figures: of each case and system the median, the least, the most and every run.

    `ratios` are those of the first system's medians to each other one's.
    """
    document: dict[str, Any] = {}
    for case, systems in runs.items():
        medians = {name: _medians(found) for name, found in systems.items() if found}
        first, *others = medians or [""]
        document[case] = {
            "what": CASES[case].what,
            "unit": CASES[case].unit,
            "systems": {name: _summary(systems[name]) for name in medians},
            "ratios": {name: _ratios(medians[first], medians[name]) for name in others},
        }
    return document


def as_table(runs: Runs) -> str:
    """Return the medians as a table in Markdown, with a line of ratios behind each system but the first."""
    lines = [_line(["case", "", "unit", *_COLUMNS.values(), "more"]), _line(["---"] * (len(_COLUMNS) + 4))]
    for case, systems in runs.items():
        medians = {name: _medians(found) for name, found in systems.items() if found}
        first = next(iter(medians), "")
        for name, figures in medians.items():
            lines.append(_row(case, name, figures))
            if name != first:
                lines.append(_row(case, f"{first} / {name}", _ratios(medians[first], figures)))
    return "".join(lines)


def _row(case: str, name: str, figures: dict[str, float]) -> str:
    told = [_number(figures[column]) if column in figures else "" for column in _COLUMNS]
    more = [
        f"{key} {_number(value)}"
        for key, value in figures.items()
        if key not in _COLUMNS and key not in _LEFT_OUT
    ]
    return _line([CASES[case].what, name, CASES[case].unit, *told, ", ".join(more)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 or value == int(value) else f"{value:.3g}"


def _medians(found: list[dict[str, float]]) -> dict[str, float]:
    return {key: median(one[key] for one in found) for key in found[0]}


def _summary(found: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    return {
        key: {"median": value, "least": min(each), "most": max(each), "runs": each}
        for key, value in _medians(found).items()
        for each in [[one[key] for one in found]]
    }


def _ratios(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    return {key: round(ours[key] / theirs[key], 3) for key in ours if theirs.get(key)}
