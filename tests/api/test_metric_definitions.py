"""The text that Prometheus reads."""

from worker.api.metric_definitions import Exposition, labels


def test_no_label_breaks_out() -> None:
    """Quotes, backslashes and line feeds are escaped."""
    assert labels(tenant='a"b\\c\nd', type="x") == '{tenant="a\\"b\\\\c\\nd",type="x"}'


def test_families_stand_one_after_the_other() -> None:
    """What it means, its kind, its samples; a line feed at the end."""
    told = Exposition()
    told.gauge("siem_a", "One\nline \\ each.", [("", 1), (labels(x="y"), 0.5)])
    told.counter("siem_b_total", "None yet.", [])

    assert told.text() == (
        "# HELP siem_a One\\nline \\\\ each.\n# TYPE siem_a gauge\n"
        'siem_a 1\nsiem_a{x="y"} 0.5\n'
        "# HELP siem_b_total None yet.\n# TYPE siem_b_total counter\n"
    )
