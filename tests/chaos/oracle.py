"""Chaos for a set time, then silence, then the account. Exit status 1 if a single event is missing.

Publishers with retry, two routers (one of which sweeps), two workers for all three types, a recorder; three
healthy destinations and nine hostile ones. While it lasts, processes are killed with SIGKILL, Redis is
killed, frozen and full, the database is locked or refuses every write, integrations are paused and resumed,
another one comes and is deleted, dead letters are replayed. With `--sentinels`, Redis is a master with two
replicas, of which one takes over whenever it is killed.
Afterwards the hostile destinations are healed, everything settles, and each event that was acknowledged to a
publisher must have reached every integration with its exact payload, or be a dead letter with a true reason;
and the ledger must say the same. An event is LOST if it is nowhere; what merely waits somewhere when patience
ends is NOT SETTLED, with the place: both fail, but the second may only ask for a longer `--settle`.
No loss of Redis may be reported, but of `--deed empty-redis`, which loses
events: all that is missing must lie within a loss that is reported, and no more may be reported than that.
Nothing may be left in Redis but what `worker.broker.keys` says stays, and no count of what integrations
share may be wrong, unless chunks were damaged. Prints JSON, with the memory that processes took. A short run
is part of the slow tests.

The long run, of a million events and a hundred kills, takes up to half an hour on two cores:
`tests/chaos/run --events 1000000 --kills 100 --rate 1500 --batch 500 --seconds 1200 --pause 1.5 --settle 900
--destinations hec_well cef_well hec_flaky`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import structs

from tests.chaos.account import Account, account_for, all_ended, ledger_of, without_letter
from tests.chaos.leftovers import all_keys, leftovers, sweep_chunks
from tests.chaos.monkey import DEEDS, VICTIMS, Monkey
from tests.chaos.publishing import Publishers
from tests.chaos.sabotage import SABOTAGES, SHARED, VICTIM, SabotagedFleet
from tests.chaos.watching import Watch
from tests.chaos.whereabouts import whereabouts_of
from tests.fleet import Fleet, wait_until
from tests.sentinel_servers import WatchedServers
from worker.broker import keys
from worker.ledger.redis_losses import LossStore
from worker.ledger.redriving import MOST_DEATHS
from worker.model.deliveries import MAX_REQUESTS
from worker.model.events import EventType

#: Name, type and mood of each destination.
WITNESSES = {
    "hec_well": ("splunk_hec", "healthy"),
    "cef_well": ("syslog_cef", "healthy"),
    "hook_well": ("webhook", "healthy"),
    "hec_slow": ("splunk_hec", "slow"),
    "hook_flapping": ("webhook", "flapping"),
    "hec_flaky": ("splunk_hec", "flaky"),
    "hook_resets": ("webhook", "resets"),
    "hec_hole": ("splunk_hec", "black_hole"),
    "hec_sips": ("splunk_hec", "slow_reader"),
    "cef_sips": ("syslog_cef", "slow_reader"),
    "cef_hangs_up": ("syslog_cef", "hangs_up"),
    "hook_goes_away": ("webhook", "goes_away"),
}
#: What a destination is configured with beside its address.
_OPTIONS: dict[str, dict[str, Any]] = {
    # Without it, TCP claims no more than that the receiver's system has the bytes.
    # It is watched for a quarter of the time that there is.
    "cef_hangs_up": {"confirm_by_shutdown": True, "timeout_seconds": 4.0},
}
_URLS = {
    "splunk_hec": "http://127.0.0.1:{}/services/collector/event",
    "syslog_cef": "syslog://127.0.0.1:{}",
    "webhook": "http://127.0.0.1:{}/hook",
}
#: Why events may die, by the finding's code: anywhere, since a machine may be too busy to answer in time and
#: whoever sends may be killed; and for each mood. What cannot be read was damaged on purpose.
_EVERYWHERE = ("timed_out", "worker_lost")
_REASONS = {
    "flapping": ("destination_busy",),
    "flaky": ("destination_busy",),
    "resets": ("connection_lost",),
    "hangs_up": ("connection_lost", "unconfirmed"),
}
#: Patience long enough for a busy machine, short enough for a test.
KNOBS: dict[str, Any] = {
    "SIEM_WORKER_THREADS": "64",
    "SIEM_SEND_DEADLINE": "6",
    "SIEM_LEASE": "8",
    "SIEM_VISIBILITY_TIMEOUT": "60",
    "SIEM_BREAKER_LONGEST_PROBE": "3",
    "SIEM_LOG_LEVEL": "WARNING",
}
#: How long a recorder may take on a busy machine to start and to take what waits for it, in seconds.
_RECORDING = 60.0
#: How long it takes until what nobody needs is gone: a deleted integration, the slot of a worker that stays.
_PUTTING_AWAY = 30.0


def main() -> None:
    """Run as told, print the account, and exit with 1 if anything is missing."""
    result = run(arguments(sys.argv[1:]))
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")
    sys.exit(1 if result["faults"] else 0)


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the options of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="what goes wrong, and in which order (default 1)")
    parser.add_argument("--seconds", type=float, default=30, help="how long (default 30)")
    parser.add_argument("--rate", type=int, default=500, help="events published a second (default 500)")
    parser.add_argument(
        "--batch", type=int, default=50, help="events that a publisher has in hand at once (default 50)"
    )
    parser.add_argument(
        "--pause", type=float, default=1.5, help="mean seconds between two deeds (default 1.5)"
    )
    parser.add_argument(
        "--settle", type=float, default=180, help="how long things may take to settle, in seconds"
    )
    parser.add_argument(
        "--sabotage", choices=sorted(SABOTAGES), default="", help="break this on purpose: it must be noticed"
    )
    parser.add_argument(
        "--deed", action="append", choices=DEEDS, default=[], help="do only this; repeatable (default: all)"
    )
    parser.add_argument(
        "--events", type=int, default=0, help="go on until so many are published, or the seconds are over"
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=0,
        help="go on until so many processes are killed, or the seconds are over",
    )
    parser.add_argument(
        "--destinations", nargs="+", choices=WITNESSES, default=[*WITNESSES], help="only these (default: all)"
    )
    parser.add_argument("--sentinels", action="store_true", help="a master with replicas, and failovers")
    return parser.parse_args(words)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Let chaos reign and return the account."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="siem-chaos-")))
        servers = ends.enter_context(WatchedServers(folder / "redis")) if given.sentinels else None
        url = servers.url if servers else ""
        fleet = ends.enter_context(SabotagedFleet(folder, redis_url=url, **KNOBS))
        fleet.sabotage = given.sabotage
        books = folder / "witnesses"
        books.mkdir()
        witnesses = _start_witnesses(books, given)
        try:
            wait_until((books / "ports.json").exists, "the witnesses listen")
            _integrate(fleet, books)
            # Where nobody is killed, one of each is enough.
            fleet.start(*(one for one in VICTIMS if given.sabotage not in SHARED or "-" not in one))
            wait_until(lambda: fleet.client.get(keys.FORMATS), "it is known which forms all processes read")
            with Watch(fleet) as watch:
                publishers, monkey = _reign(fleet, given, servers)
                (books / "healed").touch()
                settled_after = _settle(fleet, given.destinations, len(publishers.acknowledged), given.settle)
            reported = [structs.asdict(one.loss) for one in LossStore(fleet.engine).list()]
            accounts = {one: _account(fleet, books, one, publishers, monkey) for one in given.destinations}
            rest = _rest(fleet, monkey) | _refused(fleet, publishers)
        finally:
            witnesses.terminate()
            witnesses.wait()
    summary = _summary(given, publishers, monkey, accounts, reported, rest)
    return summary | watch.report() | {"seconds_to_settle": settled_after}


def _start_witnesses(folder: Path, given: argparse.Namespace) -> "subprocess.Popen[bytes]":
    wanted = [f"{name}={':'.join(WITNESSES[name])}" for name in given.destinations]
    words = [sys.executable, "-m", "tests.chaos.witnesses", str(folder), str(given.seed), *wanted]
    return subprocess.Popen(words)


def _integrate(fleet: Fleet, folder: Path) -> None:
    for name, port in json.loads((folder / "ports.json").read_text()).items():
        kind = WITNESSES[name][0]
        options = {"event_types": [*EventType], "timeout_seconds": 2.0, **_OPTIONS.get(name, {})}
        url = _URLS[kind].format(port)
        if (ca := folder / f"{name}.pem").exists():
            url, options["ca_pem"] = url.replace("http:", "https:"), ca.read_text()
        fleet.integrate(url, name, type=kind, **options)


def _reign(
    fleet: Fleet, given: argparse.Namespace, servers: WatchedServers | None
) -> tuple[Publishers, Monkey]:
    count = given.events or int(given.rate * given.seconds)
    url = fleet.environment["SIEM_REDIS_URL"]
    publishers = Publishers(url, seed=given.seed, rate=given.rate, count=count, batch=given.batch)
    monkey, over = _monkey(fleet, given, servers), threading.Event()
    publishers.start()
    chaos = threading.Thread(target=monkey.run, args=(over, given.pause))
    chaos.start()
    deadline = time.monotonic() + given.seconds
    while (publishers.running() or monkey.kills < given.kills) and time.monotonic() < deadline:
        time.sleep(0.1)
    over.set()
    chaos.join()
    publishers.stop()
    return publishers, monkey


def _monkey(fleet: Fleet, given: argparse.Namespace, servers: WatchedServers | None) -> Monkey:
    integration_ids = [f"int_{one}" for one in given.destinations]
    if given.sabotage:
        return Monkey(fleet, given.seed, integration_ids, deeds=["kill"], role=VICTIM[given.sabotage])
    return Monkey(fleet, given.seed, integration_ids, deeds=given.deed, servers=servers)


def _settle(fleet: Fleet, names: Collection[str], acknowledged: int, seconds: float) -> float:
    """Wait until every event is delivered or dead at every integration, or patience ends; return how long.

    What only a recorder has yet to take is waited for a while longer: it may have been killed a moment ago.
    """
    started = time.monotonic()
    while (waited := time.monotonic() - started) < seconds or (
        waited < seconds + _RECORDING and fleet.client.xlen(keys.OUTCOMES)
    ):
        # A look at a large ledger takes its time.
        time.sleep(max(0.5, acknowledged / 100_000))
        if _is_settled(fleet, [f"int_{name}" for name in names], acknowledged):
            break
    return round(time.monotonic() - started, 1)


def _is_settled(fleet: Fleet, integration_ids: Collection[str], acknowledged: int) -> bool:
    """Whether nothing is under way; what died of an outage is sent again by itself, and seems dead before."""
    if any(int(fleet.client.hget(f"siem:state:{one}", "backlog_events") or 0) for one in integration_ids):
        return False
    return all_ended(fleet.engine, integration_ids, acknowledged)


def _account(fleet: Fleet, folder: Path, name: str, publishers: Publishers, monkey: Monkey) -> Account:
    waiting = whereabouts_of(fleet.client, fleet.engine, f"int_{name}")
    rows, dead = ledger_of(fleet.engine, f"int_{name}")
    kind, mood = WITNESSES[name]
    expected = publishers.as_cef if kind == "syslog_cef" else publishers.acknowledged
    reasons = {*_EVERYWHERE, *_REASONS.get(mood, ())}
    if monkey.done["chunk damaged"]:
        reasons.add("unreadable")
    most = _most_copies(monkey, f"int_{name}")
    lost = _reported_lost(fleet, f"int_{name}")
    return account_for(folder / f"{name}.received", expected, rows, dead, reasons, most, lost, waiting)


def _reported_lost(fleet: Fleet, integration_id: str) -> int | None:
    losses = [one.loss for one in LossStore(fleet.engine).list()]
    return sum(loss.deliveries.get(integration_id, 0) for loss in losses) if losses else None


def _most_copies(monkey: Monkey, integration_id: str) -> int:
    """Return how often one event may arrive: four requests a life, and one for each interruption.

    It begins a new life with each replay and with each redrive. What was sent when a worker was killed, or
    while Redis could not take the settlement, is sent again.
    """
    lives = 1 + MOST_DEATHS + monkey.replays[integration_id]
    return MAX_REQUESTS * lives + monkey.kills + monkey.done["redis frozen"]


def _rest(fleet: Fleet, monkey: Monkey) -> dict[str, Any]:
    """Return what Redis holds now, and what should not be there; counts are judged by a sweep of our own."""
    found = asdict(sweep_chunks(fleet.client))
    wrong = {} if monkey.done["chunk damaged"] else {name: count for name, count in found.items() if count}
    with suppress(AssertionError):
        wait_until(lambda: not leftovers(fleet.client), "nothing is left in Redis", _PUTTING_AWAY)
    return {"wrong_counts": wrong, "left_in_redis": leftovers(fleet.client), "keys": all_keys(fleet.client)}


def _refused(fleet: Fleet, publishers: Publishers) -> dict[str, Any]:
    """Return what was published that is no event, and of how much of that no dead letter tells."""
    given = publishers.refused

    def untold() -> int:
        return without_letter(fleet.engine, given.lines, given.frames)

    with suppress(AssertionError):
        wait_until(lambda: not untold(), "what was refused is told of", _PUTTING_AWAY)
    return {"refused": len(given.lines) + given.frames, "refused_without_letter": untold()}


def _summary(
    given: argparse.Namespace,
    publishers: Publishers,
    monkey: Monkey,
    accounts: dict[str, Account],
    reported: list[dict[str, Any]],
    rest: dict[str, Any],
) -> dict[str, Any]:
    # Whatever was killed or frozen: only a Redis that was emptied has lost anything.
    unfounded = reported and not monkey.done["redis emptied"]
    untold = rest["refused_without_letter"] and not monkey.done["redis emptied"]
    too_few = len(publishers.acknowledged) < given.events or monkey.kills < given.kills
    faults = sum(account.fault_counts.total() for account in accounts.values())
    received = sum(account.received for account in accounts.values())
    copies = sum(account.copies for account in accounts.values())
    return {
        "seed": given.seed,
        "events": len(publishers.acknowledged),
        "deeds": dict(monkey.done),
        "kills": monkey.kills,
        "received": received,
        "duplicates": copies - received,
        "share_of_duplicates": round((copies - received) / max(1, copies), 4),
        "dead": sum(account.dead.total() for account in accounts.values()),
        "reported": reported,
        "losses": sum(account.losses for account in accounts.values()),
        "not_settled": sum(account.not_settled for account in accounts.values()),
        "reported_missing": sum(account.reported_missing for account in accounts.values()),
        "too_few": too_few,
        "faults": faults
        + sum(map(bool, (unfounded, untold, too_few, rest["wrong_counts"], rest["left_in_redis"]))),
        "integrations": {name: account.report() for name, account in accounts.items()},
        **rest,
    }


if __name__ == "__main__":
    main()
