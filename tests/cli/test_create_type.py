"""`siem integrations create`: which type it is, and what belongs to which."""

from pathlib import Path

import pytest

from tests.cli.running import call, create
from tests.fleet import Fleet
from worker.cli.integration_options import INTEGRATION_OPTIONS
from worker.integrations import CONFIGS
from worker.integrations.integration import Integration

HOOK = "https://endpoint.example.com/webhook"

#: What is given, and the type that it is of.
TYPES = [
    ("https://splunk/services/collector", "--token t", "splunk_hec"),
    ("HTTPS://splunk:8088/en/services/collector/event", "--token t", "splunk_hec"),
    ("https://splunk:8088", "--token t --type splunk_hec", "splunk_hec"),
    ("https://splunk:8088", "--token t --index main", "splunk_hec"),
    ("https://splunk:8088", "--token t --use-ack", "splunk_hec"),
    ("https://splunk:8088", "--token t --no-gzip", "splunk_hec"),
    ("syslog://siem", "", "syslog_cef"),
    ("SYSLOG+UDP://siem", "", "syslog_cef"),
    ("syslog+tls://siem", "--type syslog_cef", "syslog_cef"),
    (HOOK, "--type webhook", "webhook"),
    (HOOK, "--body event", "webhook"),
    (HOOK, "--auth none", "webhook"),
    (HOOK, "--add-header X-Env:prod", "webhook"),
    ("https://endpoint/services/collector", "--type webhook", "webhook"),
]


def test_the_type_is_derived_from_what_is_given(empty: Fleet) -> None:
    """The scheme, Splunk's own path, an option that only one type has, or --type."""
    made = [
        create(empty.environment, url, *options.split(), "--json", name=f"siem-{number}").json["type"]
        for number, (url, options, _) in enumerate(TYPES)
    ]

    assert [(*given, found) for (*given, _), found in zip(TYPES, made, strict=True)] == TYPES


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_field_has_an_option(kind: str) -> None:
    """What the API can configure, the command line can; nothing is forgotten when a field is added."""
    given = {
        field.partition(".")[0]
        for option in INTEGRATION_OPTIONS
        if kind in option.types
        for field in option.gives
    }

    assert set(CONFIGS[kind].model_fields) - given == set()
    assert set(Integration.model_fields) - given == {"id", "enabled", "paused", "destination"}


@pytest.mark.parametrize("kind", CONFIGS)
def test_no_option_goes_with_a_type_that_has_not_its_field(kind: str) -> None:
    """An option that is accepted has an effect."""
    known = {*CONFIGS[kind].model_fields, *Integration.model_fields}
    astray = [
        option.flag
        for option in INTEGRATION_OPTIONS
        if option.gives
        and kind in option.types
        and not known & {field.split(".")[0] for field in option.gives}
    ]

    assert astray == []


def test_help_shows_what_the_models_say(empty: Fleet) -> None:
    """Section by section; defaults and bounds are the models' own, so that they cannot drift apart."""
    text = call(empty.environment, "integrations", "create", "--help", COLUMNS="200").out
    words = " ".join(text.split())
    sections = [line.rstrip(":") for line in text.splitlines() if line.endswith(":") and line[0] != " "]

    assert sections == [
        "General",
        "Splunk HEC (--type splunk_hec)",
        "Syslog CEF (--type syslog_cef)",
        "Webhook (--type webhook)",
        "TLS",
    ]
    assert "[1 to 1000; default: 500, 250 for webhook]" in words
    assert "[up to 30; default: 20, 15 for webhook]" in words
    assert "[default: X-Api-Key]" in words
    assert "left out, 8000, and over UDP 2048." in words


def test_standard_input_is_read_once(empty: Fleet, tmp_path: Path) -> None:
    """Two options cannot share it: the second would find nothing, and say something misleading."""
    words = ("--type", "webhook", "--header-file", "-", "--signing-secret-file", "-")
    ran = create(empty.environment, HOOK, *words)
    (tmp_path / "headers").write_text("X-Env: prod")

    assert (ran.code, ran.complaint.partition(":")[0]) == (2, "only one option can read standard input")
    assert create(empty.environment, HOOK, "--header-file", str(tmp_path / "headers")).code == 0
