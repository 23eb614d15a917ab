"""Which processes of the fleet can work with the ledger's tables, now and after a change of them.

A process that uses the ledger reports the revision of its code with its heartbeats (`facts`); routers and
workers use none. Release 0.1.0 reports nothing: its recorders and APIs are of revision 0007.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.broker.connection import Client
from worker.broker.fleet import LivingProcess, living_processes
from worker.broker.heartbeat import API
from worker.ledger.engine import Ledger
from worker.ledger.migrations.revisions import Tables, own_steps
from worker.ledger.migrations.runner import steps_to_take, tables_after, tables_of
from worker.model.errors import SchemaInUse

#: The fact in which a process reports the revision of its code.
SCHEMA = "schema"
#: What release 0.1.0 is, and which of its processes use the ledger.
_SILENT, _SILENT_REVISION, _SILENT_USERS = "0.1.0", "0007", ("recorder", API)


@dataclass(frozen=True, slots=True)
class LedgerUser:
    """A living process: its release, and the revision of its code, which is None if it uses no ledger."""

    role: str
    name: str
    release: str
    revision: str | None

    def works_with(self, tables: Tables) -> bool:
        """Whether it can work while the tables are these."""
        return self.revision is None or tables.readable_from <= self.revision <= tables.revision


def schema_facts() -> Mapping[str, Any]:
    """Return what a process that uses the ledger reports."""
    return {SCHEMA: own_steps().head}


def ledger_users(client: Client) -> list[LedgerUser]:
    """Return every living process. Raises BrokerUnavailable."""
    return list(_users(living_processes(client)))


def upgrade_shuts_out(engine: Ledger) -> bool:
    """Whether an upgrade shuts out code that can work with the tables now.

    Raises LedgerUnavailable, SchemaOutdated for tables with which this release cannot work.
    """
    tables = tables_of(engine)
    pending = steps_to_take(tables, own_steps())
    return tables is not None and any(step.readable_from > tables.readable_from for step in pending)


def require_no_process_stopped(client: Client, revision: str) -> None:
    """Raise SchemaInUse if a process lives that could not work with the tables of this revision.

    Raises BrokerUnavailable.
    """
    after = tables_after(own_steps(), revision)
    stopped = [one for one in ledger_users(client) if not one.works_with(after)]
    if stopped:
        names = ", ".join(f"{one.role} {one.name} (release {one.release})" for one in stopped)
        raise SchemaInUse(
            f"these processes could not work with the changed tables: {names}. Nothing is changed: end them "
            "first, or run `siem db upgrade` or `downgrade` with --confirm"
        )


def _users(processes: Iterable[LivingProcess]) -> Iterator[LedgerUser]:
    for one in processes:
        if one.report is None:
            revision = _SILENT_REVISION if one.role in _SILENT_USERS else None
            yield LedgerUser(one.role, one.name, _SILENT, revision)
        else:
            report = one.report.facts.get(SCHEMA)
            yield LedgerUser(
                one.role, one.name, one.report.release, report if isinstance(report, str) else None
            )
