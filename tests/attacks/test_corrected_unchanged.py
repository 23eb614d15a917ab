"""What a page shows of an invalid event is what was published, so that no click publishes something else."""

import json
from typing import Any

import pytest

from tests.api.publishing import event
from tests.attacks.test_invalid_events import reject
from tests.cli.running import call
from tests.pages.conftest import HOME, OURS, Site, site, standing_site
from worker.ledger.dead_letters import find_letter
from worker.model.replays import LetterState

__all__ = ["site", "standing_site"]


def written(number: int, **more: Any) -> str:
    """Write an event of ours as an agent would."""
    return json.dumps(event(number, tenant_id=OURS, **more), ensure_ascii=False)


def test_a_decision_that_stands_twice_is_shown_twice_and_not_published(site: Site) -> None:
    """An agent that adds an allow behind its denial gains nothing by an operator's click."""
    raw = written(81, decision="deny")[:-1] + ',"decision":"allow"}'
    letter = reject(site.fleet, raw.encode())
    visitor, path = site.visitor(), f"{HOME}/dead-letters/{letter}"
    page = visitor.get(path)
    [shown] = page.filled["event"]
    printed = call(site.fleet.environment, "dead-letters", "show", letter).out
    visitor.post(f"{path}/correct", status=422, event=shown)

    for text in (shown, page.text.replace(shown, ""), printed):
        assert '"decision": "deny"' in text
        assert '"decision": "allow"' in text
    assert find_letter(site.fleet.engine, letter).state is LetterState.WAITING


@pytest.mark.parametrize(
    ("wrong", "right"), [('"drift_score": "high"', '"drift_score": 1'), ('"id" "', '"id": "')]
)
def test_what_cannot_be_printed_stays_through_a_correction(site: Site, wrong: str, right: str) -> None:
    """And so does a number of more digits than a double has; in broken JSON as beside a wrong field."""
    said = {"drift_score": 1, "reason": "a\u00a0b\u202ec", "context": {"n": 0.5}}
    sound = written(82 + len(wrong), **said).replace("0.5", "0.123456789012345678901")
    letter = reject(site.fleet, sound.replace(right, wrong).encode())
    visitor, path = site.visitor(), f"{HOME}/dead-letters/{letter}"
    [shown] = visitor.get(path).filled["event"]
    visitor.post(f"{path}/correct", event=shown.replace(wrong, right))
    found: Any = site.resources.client.xrevrange("siem:events", count=1)
    published = found[0][1][b"event"]

    assert json.loads(published) == json.loads(sound)
    assert b"0.123456789012345678901" in published
