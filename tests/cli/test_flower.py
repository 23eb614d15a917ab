"""`siem flower`: what it refuses to start with, and the words in its pages."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.running import run


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, "SIEM_FLOWER_BASIC_AUTH: is not set; give user:password, or start it with --without-login"),
        ({"SIEM_FLOWER_BASIC_AUTH": "hunter2"}, "SIEM_FLOWER_BASIC_AUTH: must be user:password"),
        ({"SIEM_FLOWER_URL_PREFIX": "a b"}, "SIEM_FLOWER_URL_PREFIX: "),
    ],
)
def test_it_starts_with_a_login_alone(tmp_path: Path, changes: dict[str, str], complaint: str) -> None:
    """A monitor that all may read is started only by those who say so; no answer repeats a password."""
    ran = run({**os.environ, "SIEM_DATA_DIR": str(tmp_path), **changes}, "flower")

    assert ran.refuses(complaint), ran
    assert "hunter2" not in ran.err


def test_tasks_are_shown_in_words() -> None:
    """Success, failure and retry read the same: what happened; what is no report is left as it is."""
    from worker.cli.flower import in_words  # noqa: PLC0415 - Flower defines options of Tornado when it is imported

    order = "{'integration': 'int_1', 'slot': 1, 'epoch': 3}"
    shown = [
        in_words(SimpleNamespace(result=result, exception=exception, kwargs=kwargs))
        for result, exception, kwargs in (
            ("'500 delivered, 0 retried, 38 ms'", None, order),
            (None, "DeliveryDead('1 dead letter (destination busy)')", order),
            (None, 'Retry(DeliveryDelayed("throttled: 1 event\'s turn", 120.0))', None),
            ("'cut at some poi...", None, "{'integration': ..."),
            (None, None, "{}"),
        )
    ]

    assert [one.result for one in shown] == [
        "500 delivered, 0 retried, 38 ms",
        "1 dead letter (destination busy)",
        "throttled: 1 event's turn",
        "'cut at some poi...",
        "",
    ]
    assert [one.kwargs for one in shown] == [
        *["integration int_1, slot 1, epoch 3"] * 2,
        None,
        "{'integration': ...",
        "{}",
    ]
