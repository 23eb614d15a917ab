"""Whether the settings and the limits of this process are fit for production: what no server has to say.

Input: the settings. Output: a check for each thing that the guide for production asks for.
"""

import os
import resource
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import available_timezones

from worker.model.errors import InvalidSetting
from worker.model.preflight import PreflightCheck, fit, is_local, unfit, warned
from worker.settings import Settings
from worker.transports.budget import descriptor_limit, threads_within
from worker.vault.vault import Vault, open_vault

#: Open files that a worker should be allowed.
_FILES = 4096
#: Threads that a process has beside those that send.
_OTHER_THREADS = 64
#: Networks as large as these, or larger, are no choice any more: bits of the prefix, by the version of IP.
_WIDEST = {4: 7, 6: 6}
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
#: Where a container's limit of processes and threads stands (cgroup v2, its pids controller).
_CGROUP_LIMIT = Path("/sys/fs/cgroup/pids.max")


def vault_of(config: Settings) -> tuple[Vault | None, PreflightCheck]:
    """Return the keys that seal secrets, and the check of them; a key is never made here."""
    given = bool(config.secret_keys.get_secret_value())
    try:
        vault = open_vault(config) if given or (config.data_dir / "secret.key").exists() else None
    except InvalidSetting as error:
        return None, unfit("secret keys", f"{error.field} {error.reason}", error.hint)
    if given and vault:
        count = len(vault.fingerprints)
        return vault, fit(
            "secret keys", "one key" if count == 1 else f"{count} keys, of which the first seals"
        )
    return vault, unfit(
        "secret keys",
        "SIEM_SECRET_KEYS is not set: a key is generated in the data directory, which other hosts lack",
        "give every process the same SIEM_SECRET_KEYS: `siem secrets new-key`"
        + (f", behind that of {config.data_dir / 'secret.key'}" if vault else ""),
    )


def judge_settings(config: Settings) -> Iterator[PreflightCheck]:
    """Check what the environment says."""
    yield _redis(config)
    yield _database(config)
    yield _networks(config)
    yield _proxies(config)
    if config.metrics_token.get_secret_value():
        yield fit("metrics token", "/metrics and the reasons of /readyz require it")
    else:
        reason = "SIEM_METRICS_TOKEN is not set: every client of the API reads /metrics"
        yield warned("metrics token", reason, "set it, or close /metrics and /readyz at the proxy")
    yield _data_dir(config)


def _redis(config: Settings) -> PreflightCheck:
    if config.redis_url.get_secret_value():
        return fit("redis address", "SIEM_REDIS_URL is set")
    reason = "SIEM_REDIS_URL is not set: the embedded server is for one machine, and ends with `siem up`"
    return unfit("redis address", reason, "run a Redis of your own, and let SIEM_REDIS_URL name it")


def _database(config: Settings) -> PreflightCheck:
    address = config.ledger_address()
    if not address.startswith("sqlite"):
        return fit("database address", "PostgreSQL")
    reason = "the ledger is SQLite: one host alone can use it, and each write waits for all others"
    return unfit("database address", reason, "let SIEM_DATABASE_URL name a PostgreSQL")


def _networks(config: Settings) -> PreflightCheck:
    allowed = config.allowed_networks
    if wide := [one for one in allowed if one.prefixlen <= _WIDEST[one.version]]:
        reason = f"SIEM_ALLOWED_NETWORKS has {wide[0]}: integrations may reach everything in your networks"
        return unfit("allowed networks", reason, "name the networks in which SIEMs stand, and no others")
    if near := [one for one in allowed if any(_overlap(one, loop) for loop in _LOOPBACK)]:
        reason = f"SIEM_ALLOWED_NETWORKS has {near[0]}: integrations may reach the workers' own hosts"
        return warned("allowed networks", reason, "leave it out, unless a SIEM runs beside the workers")
    names = ", ".join(map(str, allowed))
    return fit("allowed networks", f"private networks that are open: {names}" if names else "none is open")


def _overlap(one: object, other: object) -> bool:
    return type(one) is type(other) and one.overlaps(other)  # type: ignore[attr-defined]  # both are networks


def _proxies(config: Settings) -> PreflightCheck:
    trusted = config.api_trusted_proxies
    if wide := [one for one in trusted if one.prefixlen <= _WIDEST[one.version]]:
        reason = f"SIEM_API_TRUSTED_PROXIES has {wide[0]}: every client may choose the address it has"
        return unfit("api proxies", reason, "name the addresses of the proxies alone")
    if trusted:
        return fit("api proxies", f"behind {', '.join(map(str, trusted))}")
    where = "on this machine alone" if is_local(config.api_host) else f"at {config.api_host}, without TLS"
    return warned(
        "api proxies",
        f"SIEM_API_TRUSTED_PROXIES is not set, and the API listens {where}",
        "put a proxy with TLS before the API, and name it there: it counts as one client otherwise",
    )


def _data_dir(config: Settings) -> PreflightCheck:
    needs = [
        name
        for name, given in (
            ("the embedded Redis", config.redis_url),
            ("SQLite", config.database_url),
            ("a generated key", config.secret_keys),
        )
        if not given.get_secret_value()
    ]
    if not needs:
        return fit("data directory", "not needed: Redis, the database and the keys are elsewhere")
    place = config.data_dir.absolute()
    there = next(one for one in (place, *place.parents) if one.exists())
    if os.access(there, os.W_OK | os.X_OK):
        return fit("data directory", f"{place} can be written to; it holds {', '.join(needs)}")
    reason = f"{place} cannot be written to, and is needed for {', '.join(needs)}"
    return unfit("data directory", reason, "let SIEM_DATA_DIR name a directory that this user may write to")


def judge_host(threads: int) -> Iterator[PreflightCheck]:
    """Check the limits of this process, which are those of a worker with so many threads if started alike."""
    yield _files(threads)
    yield _threads(threads + _OTHER_THREADS)
    if available_timezones():
        yield fit("time zones", "time zone data is there")
    else:
        reason = "there is no time zone data: CEF with a time_zone other than UTC waits"
        yield warned("time zones", reason, "install the package tzdata")


def _files(wanted: int) -> PreflightCheck:
    limit = descriptor_limit()
    possible = threads_within(limit, wanted)
    hint = f"give the processes a hard limit of {_FILES} or more (LimitNOFILE=, ulimits, nofile)"
    if possible < wanted:
        reason = f"{limit} open files are allowed: a worker starts {possible} threads of {wanted}"
        return unfit("open files", reason, hint)
    if limit < _FILES:
        reason = f"{limit} open files are allowed: connections to destinations share them"
        return warned("open files", reason, hint)
    return fit("open files", f"{limit} are allowed")


def _threads(needed: int) -> PreflightCheck:
    limits = [limit for limit in (_user_limit(), _container_limit()) if limit is not None]
    if not limits:
        return fit("threads", "no limit is set")
    if min(limits) < needed:
        reason = f"{min(limits)} processes and threads are allowed, and a worker has up to {needed}"
        return unfit("threads", reason, "raise LimitNPROC= and TasksMax=, or the container's pids limit")
    return fit("threads", f"{min(limits)} are allowed, and a worker has up to {needed}")


def _user_limit() -> int | None:
    """Return how many processes and threads this user may have; root may have any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return None if soft == resource.RLIM_INFINITY or os.geteuid() == 0 else soft


def _container_limit() -> int | None:
    try:
        words = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return None
    return int(words) if words.isdecimal() else None
