"""Variables of OpenTelemetry that are wrong are named before anything starts, and no value is repeated."""

import pytest

from worker.model.errors import InvalidSetting
from worker.tracing.environment import check_environment, is_disabled


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318/secret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector:99999999"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://secret:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc-secret"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "secret"),
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


def test_the_standard_switch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED turns off what SIEM_TRACING turns on."""
    assert not is_disabled()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    assert is_disabled()
