"""The rules of deploy/prometheus: each is correct, is tested, has its runbook, and asks for what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.prometheus import FOLDER, RULE_TESTS, RULES, alerts, checked, recorded, rules, unknown_in
from tests.project.documents import TOP, anchors
from worker.model.histograms import LATE

RUNBOOKS = TOP / "deploy" / "runbooks.md"
#: A placeholder: operators replace it by where they keep the runbooks.
ADDRESS = "https://runbooks.example.com/runbooks.md#"


def test_promtool_accepts_the_rules() -> None:
    """Rules that Prometheus cannot read stop it."""
    assert checked("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES).count(
        "SUCCESS"
    ) == len(RULES)


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """With the file of the token at a place that exists here."""
    token = tmp_path / "token"
    token.write_text("secret")
    text = (FOLDER / "prometheus.yml").read_text()
    own = tmp_path / "prometheus.yml"
    own.write_text(text.replace("/run/secrets/siem_metrics_token", str(token)))
    (tmp_path / "rules").symlink_to(FOLDER / "rules")

    assert f"{len(RULES)} rule files found" in checked("promtool", "check", "config", own)


def test_amtool_accepts_the_example() -> None:
    """And sends pages to the receiver of pages, all else to that of tickets."""
    file = FOLDER / "alertmanager.yml"
    checked("amtool", "check-config", file)
    routed = [
        checked("amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}").strip()
        for severity in ("page", "ticket")
    ]

    assert routed == ["pages", "tickets"]


def test_the_objective_calls_late_what_the_recorder_calls_late() -> None:
    """Latencies of replays are left out beyond this bound, and no other is looked up."""
    [expression] = [
        rule["expr"] for _, rule in rules() if rule.get("record") == "siem:deliveries_in_time:total"
    ]

    assert f'{{le=~"{LATE:g}(' in expression


def test_inhibitions_name_alerts_that_exist() -> None:
    """An alert that was renamed would be hidden no longer, or hide nothing."""
    names = {alert.name for alert in alerts()}
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    matchers = [
        matcher
        for rule in config["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        if matcher.startswith("alertname")
    ]
    patterns = [
        pattern for matcher in matchers for pattern in _alternatives(matcher.partition("=")[2].strip('~"'))
    ]

    assert len(patterns) > len(config["inhibit_rules"])
    assert [one for one in patterns if not any(re.fullmatch(one, name) for name in names)] == []


def _alternatives(pattern: str) -> list[str]:
    """Take a pattern of names apart: `Siem(A|B)` is `SiemA` and `SiemB`."""
    head, _, rest = pattern.partition("(")
    return [head + one for one in rest.rstrip(")").split("|")] if rest else pattern.split("|")


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_rules_do_what_their_tests_say(path: Path) -> None:
    """Each alert is quiet, fires, and ends, in the time that the test writes down."""
    assert "SUCCESS" in checked("promtool", "test", "rules", path)


def test_each_alert_is_tested() -> None:
    """There is a moment at which it fires, one before at which it does not, and one after."""
    seen = dict[tuple[str, str], list[bool]]()
    for moment in _moments():
        selected = dict(re.findall(r'(\w+)="([^"]*)"', moment["expr"]))
        if selected.get("alertstate") == "firing":
            key = (selected["alertname"], selected.get("window", ""))
            seen.setdefault(key, []).append(bool(moment.get("exp_samples")))
    wanted = {(alert.name, alert.labels.get("window", "")) for alert in alerts()}

    assert set(seen) == wanted
    assert {
        key: found for key, found in seen.items() if "010" not in "".join(str(int(one)) for one in found)
    } == {}


def test_each_recorded_series_is_tested() -> None:
    """The shares of each window, and what they are made of; the sums of late events are behind the shares."""
    asked = {moment["expr"].partition("{")[0] for moment in _moments()}

    assert {name for name in recorded() if "increase" not in name} <= asked


def _moments() -> list[dict[str, Any]]:
    """Return each query at a moment that the tests make, in their order."""
    cases = [case for path in RULE_TESTS for case in yaml.safe_load(path.read_text())["tests"]]
    return [moment for case in cases for moment in case["promql_expr_test"]]


def test_each_alert_leads_to_its_runbook() -> None:
    """Whoever is woken up reads what to do; whoever reads the runbooks finds no alert that is gone."""
    found = alerts()
    headings = re.findall(r"^## (Siem\w+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)

    assert {one.annotations["runbook_url"].removeprefix(ADDRESS) for one in found} <= anchors(RUNBOOKS)
    assert {(one.name, one.annotations["runbook_url"]) for one in found} == {
        (name, f"{ADDRESS}{name.lower()}") for name in headings
    }
    assert len(headings) == len(set(headings))


def test_each_alert_says_how_urgent_it_is() -> None:
    """And what is the matter, in a sentence."""
    wrong = [
        one.name
        for one in alerts()
        if one.labels["severity"] not in {"page", "ticket"}
        or not one.annotations["summary"]
        or not one.annotations["description"].endswith(".")
    ]

    assert wrong == []


def test_rules_ask_for_what_there_is() -> None:
    """Each metric and each label exists: an alert on something else never fires."""
    assert {
        rule.get("alert") or rule["record"]: unknown_in(rule["expr"])
        for _, rule in rules()
        if unknown_in(rule["expr"])
    } == {}


def test_runbooks_name_metrics_that_exist() -> None:
    """As they are written as code."""
    named = re.findall(r"`(siem_[a-z_]+(?:\{[^}`]*\})?)`", RUNBOOKS.read_text())

    assert [one for one in named if unknown_in(one)] == []


def test_a_metric_that_does_not_exist_is_noticed() -> None:
    """The checks above can fail: for a metric, a label of it, and one to group by."""
    assert unknown_in("siem_redis_up == 0") == []
    assert unknown_in("sum(rate(siem_redis_app[5m]))") == ["siem_redis_app"]
    assert unknown_in('siem_processes{rule="router"}') == ["siem_processes{rule}"]
    assert unknown_in("max by (fleet, queue) (siem_processes)") == ["queue"]
