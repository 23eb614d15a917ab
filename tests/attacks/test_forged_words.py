"""Words of others that we repeat forge no line of a log, and control no terminal.

Each way in is tried with the same words: an answer of a SIEM, a certificate, an error of Redis or of the
database, a file's name. Each way out is tried as well, for what a way in may have missed.
"""

import io
import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import create_engine, exc

import worker.model.errors as errors_of_ours
from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.background.doctor import StepReport, StepStatus
from worker.broker.redis_errors import broker_unavailable
from worker.destinations.splunk_hec.verdict import hec_verdict
from worker.ledger.driver_errors import as_outage
from worker.logging import CleanRecord, clean_traceback
from worker.model.deliveries import Failure
from worker.model.errors import SiemError, TransportError
from worker.model.failures import FailureCode
from worker.model.untrusted_text import PrintableStream, in_one_line, plain
from worker.transports.certificates import Certificate, certificates_in
from worker.transports.failures import describe

#: A line break and a forged record, a terminal's title and a cleared screen, text that runs backwards, NUL.
FORGED = "no\x1b]0;t\x07\x1b[2J\x9b2J\u202e\u2066\ufeff\u2028\x00\r\n2026-11-26 00:00:00 ERROR worker: forged"


def is_clean(words: str) -> bool:
    """Whether the words are repeated, and nothing in them can be other than read."""
    return words.isprintable() and "no\\x1b]0;t" in words


def _of_a_finding() -> str:
    found = Failure(FailureCode.INTERNAL_ERROR, FORGED, FORGED)
    return found.message + found.hint


def _of_a_check() -> str:
    return StepReport("name", StepStatus.FAILED, FORGED, FORGED, 1.0).message


def _of_splunk() -> str:
    body = json.dumps({"text": FORGED, "code": 4}).encode()
    failure = hec_verdict(403, {}, body, 1).failure
    assert failure is not None
    return failure.message


def _certificate(subject: str, *hosts: str) -> Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    [found] = certificates_in(signed.public_bytes(Encoding.PEM).decode())
    return found


def _of_a_certificate() -> str:
    found = _certificate(FORGED.replace("\x00", "")[:30])
    return str(describe(TransportError(f"the certificate is for {found.subject}")).message)


def test_a_certificate_names_no_longer_hosts_than_there_are() -> None:
    """A name of DNS has at most 253 characters (RFC 1035, 2.3.4): such a one counts, a longer one is cut."""
    longest = ".".join(["x" * 63, "y" * 63, "z" * 63, "w" * 61])
    found = _certificate("x", longest, "x" + "\t" * 6000 + "x.example")

    assert found.is_for(longest)
    assert max(map(len, found.names)) == len(longest)


def _of_redis() -> str:
    return str(broker_unavailable(redis.ResponseError(FORGED)))


def _of_the_database() -> str:
    engine = create_engine("sqlite://")
    with pytest.raises(SiemError) as caught, as_outage(engine):
        raise exc.OperationalError("SELECT 1", {}, sqlite3.OperationalError(FORGED))
    return str(caught.value)


def _of_a_file() -> str:
    return str(errors_of_ours.InvalidSetting("SIEM_CA_FILE", f"{FORGED} is no file", "give one"))


WAYS_IN: dict[str, Callable[[], str]] = {
    "failure": _of_a_finding,
    "check": _of_a_check,
    "splunk": _of_splunk,
    "certificate": _of_a_certificate,
    "redis": _of_redis,
    "database": _of_the_database,
    "file": _of_a_file,
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_words_of_others_are_cleaned_where_they_come_in(way: str) -> None:
    """So they are clean in the ledger, in failure reasons, in health events, in the API and in Flower."""
    assert is_clean(WAYS_IN[way]())


def _kinds(kind: type[SiemError]) -> Iterator[type[SiemError]]:
    yield kind
    for further in kind.__subclasses__():
        yield from _kinds(further)


def test_every_error_of_ours_is_clean(subtests: pytest.Subtests) -> None:
    """Whatever its constructor does beside, none can hold words that are not printable."""
    for kind in sorted(set(_kinds(SiemError)), key=str):
        with subtests.test(kind=kind):
            made = kind.__new__(kind)
            SiemError.__init__(made, FORGED)
            assert is_clean(str(made))
            assert kind.__str__ is BaseException.__str__


def logged(message: str, *arguments: object, error: BaseException | None = None) -> str:
    """Return what a handler with a formatter of its own writes of a record."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("LINE %(levelname)s %(message)s"))
    caught = None if error is None else (type(error), error, error.__traceback__)
    handler.handle(CleanRecord("any", logging.ERROR, __file__, 1, message, arguments, caught))
    return written.getvalue()


def test_a_record_is_one_line() -> None:
    """Whichever library wrote it, and however long it is."""
    line = logged("it said: %s", FORGED)
    assert line.endswith("\n")
    assert is_clean(line.rstrip("\n"))
    assert len(logged("%s", "x" * 1_000_000)) < 10_000


def test_no_line_of_a_traceback_is_a_record() -> None:
    """The message of an exception may have lines; each is set in, as no record is."""
    _, *lines = logged("failed", error=ValueError(FORGED)).rstrip("\n").split("\n")
    assert any("ValueError" in line for line in lines)
    assert all(line.startswith("    ") and line.isprintable() for line in lines)
    assert len(clean_traceback(ValueError("x" * 1_000_000))) < 20_000


def test_a_terminal_sees_no_sequence_of_others() -> None:
    """Lines stay lines; everything else that is printed by `siem` goes through this."""
    written = io.StringIO()
    print(f"a\tb\n{FORGED}", file=PrintableStream(written))
    assert all(line.replace("\t", "").isprintable() for line in written.getvalue().split("\n"))
    assert written.getvalue().startswith("a\tb\n")


@pytest.mark.parametrize("cleaned", [plain, in_one_line])
def test_what_is_clean_stays_as_it_is(cleaned: Callable[[str], str]) -> None:
    """Umlauts, emoji and two blanks are no harm."""
    assert cleaned("Über  🚀 ok") == "Über  🚀 ok"


@pytest.mark.slow
def test_processes_log_by_clean_records(tmp_path: Path) -> None:
    """A process of ours and one of Celery's: the reason why it ends is printed without others' sequences."""
    program = "from worker.cli import main; import sys; sys.argv = ['siem', 'up', '\\x1b[2J']; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr
    program = "from worker.logging import clean_records; clean_records(); raise ValueError('\\x1b[2J')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert b"ValueError: \\x1b[2J" in done.stderr


@pytest.mark.slow
def test_an_answer_of_splunk_reaches_log_ledger_health_and_terminal_clean(tmp_path: Path) -> None:
    """The `text` of an answer is repeated in all of them."""
    answer = scripts.always(scripts.Action(400, json.dumps({"text": FORGED, "code": 6}).encode()))
    with Fleet(tmp_path) as own, HecReceiver(answer) as splunk:
        own.integrate(splunk.url)
        own.start()
        own.publish([denial("e1")])
        wait_until(lambda: own.dead() or own.rows(), "it fails")
        [row] = own.rows()[:1]
        shown = [own.siem(*command).stdout.decode() for command in (["health", "splunk"], ["deliveries"])]

        assert is_clean(str(row.error))
        assert all(line.isprintable() for text in shown for line in text.split("\n"))
        assert any("forged" in text for text in shown)
        for role in (WORKER, "router", "recorder"):
            assert all(line.isprintable() for line in own.log(role).split("\n"))
            assert not any(line.startswith("2026-11-26 00:00:00") for line in own.log(role).split("\n"))
