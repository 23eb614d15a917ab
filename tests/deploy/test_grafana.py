"""The dashboards of deploy/grafana: Grafana can load them, and each query asks for what there is.

Grafana itself cannot be had here; what it demands of a file is checked one by one, the queries by promtool.
"""

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.prometheus import checked, grouped_by, unknown_in
from tests.project.documents import TOP, anchors

FOLDER = TOP / "deploy" / "grafana"
DASHBOARDS = sorted(FOLDER.glob("dashboards/*.json"))
RUNBOOKS = "https://runbooks.example.com/runbooks.md"
#: The columns of Grafana's grid.
_WIDTH = 24
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
#: Variables that Grafana defines by itself.
_BUILT_IN = {"__rate_interval", "__all"}

every_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _panels(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _read(path)["panels"]
    return found


def queries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return each query with the title of its panel."""
    return [(panel["title"], query) for panel in _panels(path) for query in panel.get("targets", ())]


def filled(expression: str, **values: str) -> str:
    """Return the query as Grafana sends it: with these values of variables, and all of the others."""
    values["__rate_interval"] = "5m"
    return _VARIABLE.sub(lambda found: values.get(found[1], ".*"), expression)


def test_there_are_three() -> None:
    """Each has a uid of its own, by which links find it."""
    assert [path.stem for path in DASHBOARDS] == ["fleet", "integration", "ledger"]
    assert [_read(path)["uid"] for path in DASHBOARDS] == [f"siem-{path.stem}" for path in DASHBOARDS]
    assert {_read(path)["schemaVersion"] for path in DASHBOARDS} == {37}


@every_dashboard
def test_panels_have_a_place_of_their_own(path: Path) -> None:
    """No two overlap, none is wider than the grid, and each has its id."""
    panels = _panels(path)
    places = [panel["gridPos"] for panel in panels]
    overlapping = [(one, two) for one, two in combinations(places, 2) if _overlap(one, two)]

    assert overlapping == []
    assert [one for one in places if one["x"] + one["w"] > _WIDTH] == []
    assert Counter(panel["id"] for panel in panels).most_common(1)[0][1] == 1


def _overlap(one: dict[str, int], two: dict[str, int]) -> bool:
    return (
        one["x"] < two["x"] + two["w"]
        and two["x"] < one["x"] + one["w"]
        and one["y"] < two["y"] + two["h"]
        and two["y"] < one["y"] + one["h"]
    )


@every_dashboard
def test_each_panel_says_what_it_shows(path: Path) -> None:
    """Title, description, unit, thresholds, and the datasource that was chosen."""
    shown = [panel for panel in _panels(path) if panel["type"] != "row"]
    incomplete = [
        panel["title"]
        for panel in shown
        if not panel["description"].endswith(".")
        or panel["datasource"] != {"type": "prometheus", "uid": "${datasource}"}
        or not panel["fieldConfig"]["defaults"]["unit"]
        or not panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    ]

    assert incomplete == []
    assert [panel["title"] for panel in shown if not _has_rising_thresholds(panel)] == []


def _has_rising_thresholds(panel: dict[str, Any]) -> bool:
    """Whether the first has no value, as Grafana demands, and the others rise."""
    first, *others = (step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"])
    return first is None and others == sorted(others)


@every_dashboard
def test_variables_are_defined_and_used(path: Path) -> None:
    """A variable that is not defined stands in the query as it is; one that nobody uses is in the way."""
    defined = [variable["name"] for variable in _read(path)["templating"]["list"]]
    used = set(_VARIABLE.findall(json.dumps(_read(path)))) - _BUILT_IN

    assert used == set(defined)
    assert len(defined) == len(set(defined))


@every_dashboard
def test_queries_ask_for_what_there_is(path: Path) -> None:
    """Each metric and label exists, also for the variables; a legend shows labels that the query has."""
    asked = [(title, query["expr"]) for title, query in queries(path)]
    asked += [(one["name"], one["query"]["query"]) for one in _read(path)["templating"]["list"][1:]]
    nameless = [
        (title, label)
        for title, query in queries(path)
        for label in re.findall(r"\{\{(\w+)\}\}", query["legendFormat"])
        if label not in grouped_by(query["expr"]) | ({"type"} if "siem:" in query["expr"] else set())
    ]

    assert [(title, unknown_in(expression)) for title, expression in asked if unknown_in(expression)] == []
    assert nameless == []


@every_dashboard
def test_promtool_parses_each_query(path: Path, tmp_path: Path) -> None:
    """As rules, whose expressions it reads as Prometheus does."""
    found = [filled(query["expr"]) for _, query in queries(path)]
    recording = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(found)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recording}]}))

    assert f"{len(found)} rules found" in checked("promtool", "check", "rules", file)


@every_dashboard
def test_links_lead_to_runbooks(path: Path) -> None:
    """Each to a heading that is there."""
    links = [link["url"] for panel in _panels(path) for link in panel.get("links", ())]
    headings = anchors(TOP / "deploy" / "runbooks.md")

    assert len(links) > len(_panels(path)) // 2
    assert [link for link in links if link.removeprefix(f"{RUNBOOKS}#") not in headings] == []


def test_provisioning_finds_dashboards_and_prometheus() -> None:
    """A file provider, and a datasource of the type that the dashboards ask for."""
    [datasource] = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    [provider] = yaml.safe_load((FOLDER / "provisioning/dashboards/siem.yml").read_text())["providers"]

    assert (datasource["type"], datasource["url"]) == ("prometheus", "http://prometheus:9090")
    assert (provider["type"], provider["options"]["path"]) == ("file", "/var/lib/grafana/dashboards")
