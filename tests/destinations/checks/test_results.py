"""What went wrong, and what to do, are kept apart, whatever has said it."""

from dataclasses import replace

import pytest

from worker.destinations.checks import StepResult, StepStatus, failed_with
from worker.model.errors import (
    ConnectFailed,
    ConnectionLost,
    DeadlinePassed,
    InvalidInput,
    InvalidIntegration,
    NameUnknown,
    TlsFailed,
    TransportError,
)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            NameUnknown("siem does not resolve (unknown): check the name, or the DNS"),
            "siem does not resolve (unknown)",
            "check the name, or the DNS",
        ),
        (
            TlsFailed("the certificate of siem:1 has expired", "renew it (here it is 2026-11-23 08:10 UTC)"),
            "the certificate of siem:1 has expired",
            "renew it (here it is 2026-11-23 08:10 UTC)",
        ),
        (
            ConnectionLost("siem:1 did not answer in HTTP: check that the url's port and scheme are right"),
            "siem:1 did not answer in HTTP",
            "check that the url's port and scheme are right",
        ),
        (
            InvalidIntegration("ca_pem", "is not a certificate in PEM", "give one or more blocks"),
            "ca_pem: is not a certificate in PEM",
            "give one or more blocks",
        ),
    ],
)
def test_an_error_that_says_what_to_do(error: TransportError | InvalidInput, message: str, hint: str) -> None:
    """The sentence is cut where the request to the reader begins."""
    assert replace(failed_with(error), code=None) == StepResult(StepStatus.FAILED, message, hint)


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed("cannot connect to 127.0.0.1:1: Permission denied"),
        ConnectionLost("the connection to siem:1 broke: Protocol error"),
        DeadlinePassed("no connection to siem within 5 s: no answer from 127.0.0.1:1"),
        TlsFailed("TLS with siem:1 failed: DECRYPTION_FAILED"),
        TlsFailed("the certificate of siem:1 is not trusted: certificate revoked"),
        TransportError("gone"),
    ],
)
def test_an_error_that_only_says_what_happened(error: TransportError) -> None:
    """A system's reason behind a colon is no hint: the sentence stays whole, and the general hint helps."""
    answer = failed_with(error)

    assert answer.message == (error.message if isinstance(error, TlsFailed) else str(error))
    assert answer.hint
    assert answer.hint not in answer.message
