"""What is sent again by itself once an outage is over: what died of the outage, and not for ever."""

from sqlalchemy import Engine

from tests.ledger.entries import NOON
from tests.ledger.letters import bury, live
from worker.ledger.redriving import MOST_DEATHS, redrive
from worker.ledger.replay_pages import next_page
from worker.model.deliveries import Cause

WELL_SINCE = NOON + 60_000


def _redriven(engine: Engine) -> list[str]:
    """Name the events of the replay that is made; none if none is."""
    replay = redrive(engine, "int_a", WELL_SINCE)
    return [letter.event.id for letter in next_page(engine, replay, 100)[0]] if replay else []


def test_what_died_of_an_outage_is_sent_again_and_nothing_else(engine: Engine) -> None:
    """A destination refuses what it refused before; what died since may be of another trouble."""
    live(engine, "int_a", "int_b")
    bury(engine, "outage")
    bury(engine, "refused", cause=Cause.REFUSED)
    bury(engine, "later", dead_ms=WELL_SINCE)
    bury(engine, "other", integration_id="int_b")

    assert _redriven(engine) == ["outage"]


def test_what_a_destination_refused_makes_no_replay(engine: Engine) -> None:
    """Nothing else is there to send."""
    live(engine, "int_a")
    bury(engine, "refused", cause=Cause.REFUSED)

    assert redrive(engine, "int_a", WELL_SINCE) is None


def test_an_event_that_dies_each_time_is_left_to_a_person(engine: Engine) -> None:
    """It is not about the outage; what died less often goes."""
    live(engine, "int_a")
    for _ in range(MOST_DEATHS):
        bury(engine, "often", "too_often")
    bury(engine, "too_often")

    assert set(_redriven(engine)) == {"often"}
