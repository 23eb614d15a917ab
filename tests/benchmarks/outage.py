"""An outage of a destination: how many of its events die, how many are left dead, how long the rest takes.

A fleet with the settings of production publishes at a steady rate. The destination works, then it does not
for so many minutes (it resets connections, takes them and is silent, or answers 503), then it works again.
Promised are: less than 1 % of the outage's events become dead letters, none is left once they were sent
again, and every event is delivered. Prints JSON; exit status 1 if it is not so.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.benchmarks.measuring import end_on_sigterm, hardware
from tests.fleet import Fleet
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from worker.publisher import EventPublisher
from worker.samples import sample_lines

#: What production has where tests are hasty.
_SETTINGS: dict[str, Any] = {
    "SIEM_RETRY_BACKOFF": "2",
    "SIEM_RETRY_GRACE": "5",
    "SIEM_SEND_DEADLINE": "45",
    "SIEM_LEASE": "60",
    "SIEM_ORDER_LEASE": "30",
    "SIEM_SWEEP_INTERVAL": "2",
    "SIEM_RECORDER_LINGER": "0.25",
    "SIEM_WORKER_THREADS": "128",
    "SIEM_LOG_LEVEL": "WARNING",
}
_KINDS = ("reset", "silent", "busy")
_WELL_SECONDS = 5.0


def main() -> None:
    """Measure, print one JSON object, and exit with 1 if a promise was not kept."""
    end_on_sigterm()
    given = arguments(sys.argv[1:])
    result = measure(given)
    json.dump({"hardware": hardware(), **result}, sys.stdout, indent=2)
    sys.stdout.write("\n")
    sys.exit(0 if result["kept"] else 1)


def arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of the outage (default 10)")
    parser.add_argument("--rate", type=int, default=200, help="events a second (default 200)")
    parser.add_argument("--kind", choices=_KINDS, default="reset", help="what is wrong (default reset)")
    parser.add_argument("--first-probe", default="15", help="SIEM_BREAKER_FIRST_PROBE (default 15)")
    parser.add_argument("--longest-probe", default="300", help="SIEM_BREAKER_LONGEST_PROBE (default 300)")
    parser.add_argument(
        "--patience", type=float, default=900, help="seconds that recovery may take (default 900)"
    )
    return parser.parse_args(words)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Let it happen and return the figures."""
    probes = {
        "SIEM_BREAKER_FIRST_PROBE": given.first_probe,
        "SIEM_BREAKER_LONGEST_PROBE": given.longest_probe,
    }
    with (
        tempfile.TemporaryDirectory(prefix="siem-outage-") as name,
        Fleet(Path(name), **(_SETTINGS | probes)) as fleet,
        HecReceiver() as splunk,
    ):
        fleet.integrate(splunk.url, timeout_seconds=10.0)
        fleet.start()
        with _steady(fleet, given.rate) as sent:
            time.sleep(_WELL_SECONDS)  # the load, not a wait for something
            began, before = time.monotonic(), len(sent)
            _break(splunk, given.kind)
            peak = _sit_out(fleet, given.minutes * 60)
            outage_events = len(sent) - before
            dead = _dead(fleet)
            _mend(splunk)
            mended = time.monotonic()
            time.sleep(_WELL_SECONDS)  # the load, not a wait for something
        drained = _wait_for_all(fleet, len(sent), given.patience)
        return _figures(fleet, splunk, sent) | {
            "kind": given.kind,
            "outage_seconds": round(mended - began),
            "outage_events": outage_events,
            "dead_before_redrive": dead,
            "dead_share": round(dead / max(1, outage_events), 5),
            "peak_backlog": peak,
            "seconds_to_recover": round(time.monotonic() - mended, 1),
            "kept": drained and dead < 0.01 * outage_events and not _dead(fleet),
        }


@contextmanager
def _steady(fleet: Fleet, rate: int) -> Iterator[list[bytes]]:
    """Publish at this rate until the block ends; give what was acknowledged so far."""
    over, sent = threading.Event(), list[bytes]()

    def publish() -> None:
        began = time.monotonic()
        kinds = (line for line in sample_lines(100_000_000) if b'"policy.allow"' not in line)
        with EventPublisher(fleet.server.url) as publisher:
            for number, line in enumerate(kinds):
                publisher.publish(line)
                sent.append(line)
                if over.wait(max(0.0, began + number / rate - time.monotonic())):
                    return

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


def _break(splunk: HecReceiver, kind: str) -> None:
    """Have the destination fail from now on."""
    splunk.script = {
        "reset": scripts.close_mid_response("nothing", reset=True, taking=False),
        "silent": scripts.hang(),
        "busy": scripts.busy(),
    }[kind]


def _mend(splunk: HecReceiver) -> None:
    splunk.script = scripts.ok()


def _sit_out(fleet: Fleet, seconds: float) -> int:
    """Wait for the end of the outage; return the largest backlog that was seen."""
    until, peak = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        time.sleep(0.5)  # the outage itself
        peak = max(peak, int(fleet.client.hget("siem:state:int_splunk", "backlog_events") or 0))
    return peak


def _dead(fleet: Fleet) -> int:
    """Count the dead letters that wait."""
    with fleet.engine.connect() as connection:
        counted = connection.execute(text("SELECT count(*) FROM dead_letters WHERE state = 'waiting'"))
        return int(counted.scalar_one())


def _delivered(fleet: Fleet) -> int:
    with fleet.engine.connect() as connection:
        counted = connection.execute(text("SELECT count(*) FROM delivery_status WHERE status = 'delivered'"))
        return int(counted.scalar_one())


def _wait_for_all(fleet: Fleet, count: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while _delivered(fleet) < count:
        if time.monotonic() > until:
            return False
        time.sleep(0.5)  # polls another process's ledger
    return True


def _figures(fleet: Fleet, splunk: HecReceiver, sent: list[bytes]) -> dict[str, Any]:
    received = splunk.accepted_ids
    return {
        "published": len(sent),
        "delivered": _delivered(fleet),
        "lost": len(sent) - len(set(received)),
        "duplicates": len(received) - len(set(received)),
        "dead_after_redrive": _dead(fleet),
    }


if __name__ == "__main__":
    main()
