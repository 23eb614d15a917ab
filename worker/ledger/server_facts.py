"""What PostgreSQL says of itself, of the connection and of this role: for `siem preflight` to judge."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, text

from worker.ledger import attempts, audit, batches, counts, schema
from worker.ledger.engine import reading
from worker.model.preflight import DatabaseFacts

#: What this role must be allowed to do with each table beside SELECT, which it needs for all of them.
#: `siem db upgrade` needs more, and is run by the owner of the tables.
RIGHTS = {
    schema.integrations.name: ("INSERT", "UPDATE"),
    schema.deliveries.name: ("INSERT", "UPDATE", "DELETE"),
    schema.dead_letters.name: ("INSERT", "UPDATE", "DELETE"),
    schema.replays.name: ("INSERT", "UPDATE", "DELETE"),
    schema.parked.name: ("INSERT", "DELETE"),
    schema.minute_counts.name: ("INSERT", "UPDATE", "DELETE"),
    schema.recorded_entries.name: ("INSERT", "DELETE"),
    schema.api_keys.name: ("INSERT", "UPDATE"),
    schema.ledger_identity.name: ("UPDATE",),
    schema.redis_epochs.name: ("INSERT", "UPDATE"),
    schema.redis_losses.name: ("INSERT", "UPDATE"),
    schema.schema_revisions.name: (),
    attempts.attempts.name: ("INSERT", "DELETE"),
    batches.delivered_batches.name: ("INSERT", "UPDATE", "DELETE"),
    batches.delivery_periods.name: ("INSERT", "UPDATE", "DELETE"),
    audit.audit.name: ("INSERT", "DELETE"),
    audit.outbox.name: ("INSERT", "DELETE"),
    counts.delivery_totals.name: ("INSERT", "UPDATE"),
    counts.failure_totals.name: ("INSERT", "UPDATE"),
    schema.ledger_totals.name: ("INSERT", "UPDATE"),
}
#: What it must be allowed to call, to begin and to drop periods of deliveries.
FUNCTIONS = ("siem_add_period(bigint)", "siem_drop_period(bigint)")
_SERVER = text(
    "SELECT current_setting('server_version_num')::int AS version, current_user::text AS role, "
    "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser, "
    "NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off' AS takes_writes"
)
_RIGHT = text(
    "SELECT COALESCE(has_table_privilege(to_regclass(:table), :right), true)"  # null: it is not there
)
_CALL = text("SELECT COALESCE(has_function_privilege(to_regprocedure(:name), 'EXECUTE'), true)")


def database_facts(engine: Engine) -> DatabaseFacts | None:
    """Return what PostgreSQL says; None of SQLite. Raises LedgerUnavailable."""
    if engine.dialect.name != "postgresql":
        return None
    with reading(engine) as connection:
        server = connection.execute(_SERVER).one()
        driver: Any = connection.connection.driver_connection
        encrypted = bool(driver.pgconn.ssl_in_use)
        mode = driver.info.get_parameters().get("sslmode", "")
        return DatabaseFacts(
            version=server.version,
            role=server.role,
            is_superuser=server.is_superuser,
            takes_writes=server.takes_writes,
            host=driver.info.host or None,
            encrypted=encrypted,
            verified=encrypted and mode == "verify-full",
            lacking=tuple(_lacking(connection)),
        )


def _lacking(connection: Connection) -> Iterator[str]:
    for table, rights in RIGHTS.items():
        for right in ("SELECT", *rights):
            if not connection.execute(_RIGHT, {"table": table, "right": right}).scalar_one():
                yield f"{right} on {table}"
    for name in FUNCTIONS:
        if not connection.execute(_CALL, {"name": name}).scalar_one():
            yield f"EXECUTE on {name}"
