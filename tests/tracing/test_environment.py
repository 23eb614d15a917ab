"""Variables of OpenTelemetry that are wrong are named before anything starts, and no value is repeated."""

from pathlib import Path

import pytest

from worker.model.errors import InvalidSetting
from worker.tracing.environment import check_environment, collector_headers, is_disabled


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318/secret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector:99999999"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://secret:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc-secret"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer secret"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b,authorization=secret%0Ax"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/secret.pem"),
        ("OTEL_TRACES_EXPORTER", "secret"),
        ("OTEL_TRACES_SAMPLER", "secret"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "secret"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The SDK would pass over it, or fail with its own words."""
    from worker.tracing.provider import start_tracing  # noqa: PLC0415 - else all tests import OpenTelemetry

    monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSetting, match=name if "BSP" not in name else "OTEL_") as caught:
        start_tracing("siem-test", begins=True)
    assert "secret" not in str(caught.value)


def test_a_share_belongs_to_its_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one the SDK would take all."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    with pytest.raises(InvalidSetting, match="OTEL_TRACES_SAMPLER_ARG"):
        check_environment()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.01")
    check_environment()


def test_headers_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As our own secrets do. Beside the variable it is refused, and so is one without a header."""
    file = tmp_path / "headers"
    file.write_text("Authorization=Bearer%20a=b%2Cc , x-team=two words,\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS_FILE", str(file))
    found = collector_headers()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x=secret")
    with pytest.raises(InvalidSetting, match="HEADERS_FILE: is set, and OTEL_EXPORTER_OTLP_HEADERS as well"):
        check_environment()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "")
    file.write_text("secret")
    with pytest.raises(InvalidSetting, match="HEADERS_FILE: holds what is no header") as caught:
        check_environment()

    assert found == {"authorization": "Bearer a=b,c", "x-team": "two words"}
    assert "secret" not in str(caught.value)


def test_the_standard_switch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED turns off what SIEM_TRACING turns on."""
    assert not is_disabled()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    assert is_disabled()
