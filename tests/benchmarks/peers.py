"""syslog-ng and rsyslog as Debian builds them (`.ci/peers` brings them), on the same events and receivers.

They read a file of the events, parse each as JSON, and send it on: as batches of 500 to Splunk HEC, as CEF
over TCP, or one a POST. They keep no broker, no record and no tenants. Time is taken from the first event
that arrived on, by asking the receiver; CPU is that of the whole process since then.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.fleet_runs import CEF, HEC, WEBHOOK, Figures, Way, receiver
from tests.benchmarks.measuring import tree_cpu_seconds
from tests.demo.running import Running
from tests.fleet import wait_until
from tests.interop.programs import PEERS, Program
from worker.samples import sample_lines

_LONGEST = 200.0
_BATCH = 500
_POLL = 0.01

_SYSLOG_NG = """\
@version: 3.38
options {{ stats-freq(0); log-msg-size(65536); log-fifo-size(200000); }};
log {{
  source {{ file("{corpus}" flags(no-parse) log-fetch-limit(1000) log-iw-size(100000)); }};
  parser {{ json-parser(prefix(".e.")); }};
  destination {{ {destination}; }};
  flags(flow-control);
}};
"""
_HTTP = (
    'http(url("{url}") method("POST") headers("Authorization: Splunk secret-token") '
    'workers({workers}) batch-lines({batch}) batch-timeout(200) delimiter("") body("{body}"))'
)
_EVENT = "$(format-json --scope none --key .e.* --shift-levels 2)"
_ENVELOPE = (
    "$(format-json --scope none time=$UNIXTIME host=siem sourcetype=mitrity:governance "
    "--key .e.* --rekey .e.* --shift-levels 2 --add-prefix event.)"
)
#: Key of the extension of CEF → member of the event.
_EXTENSION = {
    "rt": "timestamp",
    "act": "decision",
    "externalId": "id",
    "suser": "agent_name",
    "suid": "agent_id",
    "cs1": "policy.id",
    "cs2": "policy.name",
    "cs3": "behavioral_hash",
    "cs4": "action_type",
    "cs5": "tenant_id",
    "cfp1": "drift_score",
    "src": "context.source_ip",
    "msg": "reason",
}
_BEFORE_EXTENSION = ("CEF:0|MITRITY|MITRITY Platform|1.0|", "|", "|5|")


def _syslog_ng_cef() -> str:
    """Write the message as a template; what it does not escape, its rate does not pay for."""
    before, between, behind = _BEFORE_EXTENSION
    extension = " ".join(f"{key}=${{.e.{member}}}" for key, member in _EXTENSION.items())
    return f"<134>$ISODATE siem {before}${{.e.type}}{between}${{.e.policy.name}}{behind}{extension}\\n"


def _rsyslog_cef() -> str:
    before, between, behind = _BEFORE_EXTENSION
    parts = [
        'constant(value="<134>")',
        'property(name="timereported" dateFormat="rfc3339")',
        f'constant(value=" siem {before}")',
        'property(name="$!type")',
        f'constant(value="{between}")',
        'property(name="$!policy!name")',
        f'constant(value="{behind}")',
    ]
    for key, member in _EXTENSION.items():
        parts += [f'constant(value=" {key}=")', f'property(name="$!{member.replace(".", "!")}")']
    return "\n  ".join([*parts, 'constant(value="\\n")'])


_RSYSLOG = """\
global(workDirectory="{directory}" maxMessageSize="64k")
main_queue(queue.size="200000" queue.dequeueBatchSize="1024")
module(load="imfile" mode="inotify")
module(load="mmjsonparse")
template(name="cef" type="list") {{
  {template}
}}
input(type="imfile" file="{corpus}" tag="event" ruleset="send")
ruleset(name="send" queue.type="LinkedList" queue.size="200000" queue.dequeueBatchSize="1024") {{
  action(type="mmjsonparse" cookie="")
  action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" template="cef")
}}
"""

#: Makes a configuration, given the file of the events, a folder and the receiver's port.
_Configure = Callable[[Path, Path, int], str]


def _http(way: Way, body: str, batch: int, workers: int) -> _Configure:
    def configure(corpus: Path, _folder: Path, port: int) -> str:
        url = way.address.format(port)
        destination = _HTTP.format(url=url, workers=workers, batch=batch, body=body)
        return _SYSLOG_NG.format(corpus=corpus, destination=destination)

    return configure


def _syslog_ng_tcp(corpus: Path, _folder: Path, port: int) -> str:
    destination = f'network("127.0.0.1" port({port}) transport("tcp") template("{_syslog_ng_cef()}"))'
    return _SYSLOG_NG.format(corpus=corpus, destination=destination)


def _rsyslog_tcp(corpus: Path, folder: Path, port: int) -> str:
    return _RSYSLOG.format(corpus=corpus, directory=folder, port=port, template=_rsyslog_cef())


_SETUPS: dict[tuple[str, str], tuple[Way, _Configure]] = {
    ("syslog-ng", "hec"): (HEC, _http(HEC, _ENVELOPE, _BATCH, 1)),
    ("syslog-ng", "cef"): (CEF, _syslog_ng_tcp),
    ("syslog-ng", "webhook"): (WEBHOOK, _http(WEBHOOK, _EVENT, 1, 16)),
    ("rsyslog", "cef"): (CEF, _rsyslog_tcp),
}
NAMES = sorted({name for name, _ in _SETUPS})


def measures(name: str, case: str) -> bool:
    """Whether this peer does what this case measures."""
    return (name, case) in _SETUPS


def missing() -> str | None:
    """Return what to do where the peers are not here."""
    there = (PEERS / "usr/sbin/syslog-ng").is_file() and (PEERS / "usr/sbin/rsyslogd").is_file()
    modules = list(PEERS.glob("usr/lib/syslog-ng/*/libhttp.so"))
    return (
        None if there and modules else "syslog-ng and rsyslog are not here: run .ci/peers, which brings them"
    )


def measure(name: str, case: str, events: int) -> Figures:
    """Have a peer deliver so many events; return its rate and CPU."""
    way, configure = _SETUPS[name, case]
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as folder, receiver(way, Path(folder)) as came:
        corpus = Path(folder) / "events"
        corpus.touch()
        configuration = Path(folder) / "configuration"
        configuration.write_text(configure(corpus, Path(folder), came.port))
        with Program(_command(name, configuration), Path(folder)) as program:
            written = b"".join(line + b"\n" for line in sample_lines(events, run="measured"))
            corpus.write_bytes(written)
            return _timed(program, came, events)


def _timed(program: Program, came: Running, events: int) -> Figures:
    first = _wait_for(program, came, 1)
    used, started = tree_cpu_seconds(program.pid), time.monotonic()
    last = _wait_for(program, came, events)
    seconds, cpu = time.monotonic() - started, tree_cpu_seconds(program.pid) - used
    counted = max(1, last - first)
    return {
        "deliveries": events,
        "received_share": round(last / events, 4),
        "seconds": round(seconds, 3),
        "per_second": round(counted / seconds),
        "cpu_us": round(cpu / counted * 1e6, 2),
    }


def _wait_for(program: Program, came: Running, events: int) -> int:
    """Wait until so many have arrived; return how many have."""

    def arrived() -> int:
        program.check()
        time.sleep(_POLL)  # between two looks: to look more often would burden what is measured
        count = int(came.counts()["events"])
        return count if count >= events else 0

    found: int = wait_until(arrived, f"{events} events arrive; {program.last_words()}", _LONGEST)
    return found


def _command(name: str, configuration: Path) -> list[str | Path]:
    folder = configuration.parent
    if name == "rsyslog":
        [modules] = PEERS.glob("usr/lib/*/rsyslog/imfile.so")
        program = PEERS / "usr/sbin/rsyslogd"
        return [program, "-n", "-f", configuration, "-i", folder / "pid", "-M", modules.parent]
    [modules] = PEERS.glob("usr/lib/syslog-ng/*/libafsocket.so")
    return [
        *(PEERS / "usr/sbin/syslog-ng", "--foreground", "--stderr", "--no-caps"),
        *("--cfgfile", configuration, "--module-path", modules.parent),
        *("--persist-file", folder / "persist", "--pidfile", folder / "pid", "--control", folder / "control"),
    ]
