"""The ledger's tables, as the code sees them; `migrations/` makes them, and a test holds both equal.

Every time is in milliseconds since 1970 UTC. Every index is paid for by the recorder, row by row, so
each says below which question it answers.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.dialects.postgresql import TEXT

metadata = MetaData()

# Ids are compared byte by byte: pages of a list then break at the same place in SQLite, PostgreSQL and
# Python, and PostgreSQL's trees grow faster than by the rules of a language.
ID = Text().with_variant(TEXT(collation="C"), "postgresql")


def _if(condition: str) -> dict[str, Any]:
    """Return the options of an index that holds only the rows for which this is so."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


integrations = Table(
    "integrations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    # The whole integration as JSON, with its secrets sealed.
    Column("document", Text, nullable=False),
    # Goes up by one with every change, deletion included.
    Column("revision", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger),
    # Why and when its destination had it disabled; NULL while it is on, and when a person did it.
    Column("disabled_reason", Text),
    Column("disabled_ms", BigInteger),
    # Of each secret since when it is set, and how it ends, as JSON (`worker.vault.marks`).
    Column("secrets_set", Text),
)

_LIVING = text("deleted_ms IS NULL")

# A name is free again once its integration is deleted.
Index(
    "integrations_living_name",
    integrations.c.tenant_id,
    integrations.c.name,
    unique=True,
    sqlite_where=_LIVING,
    postgresql_where=_LIVING,
)

# The key begins with the event, so that "what became of this event" needs no index of its own.
# On SQLite it stays a table with rowids: appending the row and putting only the key into a tree took
# 6.1 µs of CPU a row where WITHOUT ROWID, which puts the whole row at a random place, took 7.6.
deliveries = Table(
    "deliveries",
    metadata,
    # The event's id, or a key that begins with it if that id is used again (`worker.model.outcomes`).
    Column("event_id", ID, primary_key=True),
    Column("integration_id", ID, primary_key=True),
    Column("event_type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("http_status", Integer),
    Column("error_code", Text),
    Column("error", Text),
    Column("hint", Text),
    Column("event_ms", BigInteger, nullable=False),
    Column("published_ms", BigInteger, nullable=False),
    Column("settled_ms", BigInteger, nullable=False),
    # From the publication to the destination's reply; only when that reply was an acceptance.
    Column("latency_ms", BigInteger),
    Column("retry_at_ms", BigInteger),
    # Orders the settlements of one delivery: `milliseconds << 20 | sequence` of its stream entry.
    Column("version", BigInteger, nullable=False),
    # How far it is known to have come (`worker.model.deliveries.Assurance`); only of what was delivered.
    Column("assurance", Text),
    # The digest of the event's bytes; NULL if a release wrote the row that did not have it.
    Column("content", Text),
)

_delivery = deliveries.c
# "The latest deliveries of this integration", and percentiles over them. It grows at one end per
# integration, which makes it cheap. A list over all integrations merges theirs (see queries.py); an
# index on settled_ms alone would cost every row to spare that one question.
Index("deliveries_latest", _delivery.integration_id, _delivery.settled_ms)

# "What fails or waits here", and the last problem. Almost empty while all is healthy.
Index("deliveries_unwell", _delivery.integration_id, _delivery.settled_ms, **_if("status <> 'delivered'"))

dead_letters = Table(
    "dead_letters",
    metadata,
    # `<milliseconds>-<sequence>-<place>` of its stream entry: the same letter has the same id again.
    Column("id", ID, primary_key=True),
    # NULL for what was never a valid event; of its id and type there is what could be read.
    Column("integration_id", ID),
    Column("event_id", ID),
    Column("event_type", Text),
    Column("cause", Text, nullable=False),
    Column("error_code", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("http_status", Integer),
    Column("attempts", Integer, nullable=False),
    # The event's own bytes, as they were published.
    Column("payload", LargeBinary, nullable=False),
    Column("event_ms", BigInteger, nullable=False),
    Column("published_ms", BigInteger, nullable=False),
    Column("dead_ms", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),
    # When it ceased to wait, by the clock of Redis if it was replayed; and which replay saw to that.
    Column("state_ms", BigInteger),
    Column("replay_id", ID),
    Column("content", Text),
    # Whose it is if it was never a valid event and that could be read; NULL for all others.
    Column("tenant_id", ID),
)

# Dead letters are few, so that indexes are affordable: the latest of an integration, and of all,
_letter = dead_letters.c
Index("dead_letters_latest", _letter.integration_id, _letter.dead_ms)
Index("dead_letters_latest_of_all", _letter.dead_ms)
# those that a replay may take, which leave these two as it goes on,
_IF_WAITS = _if("state = 'waiting'")
Index("dead_letters_waiting", _letter.integration_id, _letter.dead_ms, **_IF_WAITS)
Index("dead_letters_waiting_of_all", _letter.dead_ms, **_IF_WAITS)
# whether one of an event waits,
_of_event = (_letter.event_id, _letter.integration_id)
Index("dead_letters_waiting_of_event", *_of_event, _letter.content, **_IF_WAITS)
# how often an event has died,
Index("dead_letters_of_event", *_of_event)
# a tenant's invalid events, and whose came lately,
_IF_INVALID = _if("tenant_id IS NOT NULL")
Index("dead_letters_of_tenant", _letter.tenant_id, _letter.dead_ms, **_IF_INVALID)
Index("dead_letters_invalid", _letter.dead_ms, _letter.tenant_id, _letter.state, **_IF_INVALID)
# and what a replay has sent.
Index("dead_letters_replayed", _letter.replay_id, **_if("replay_id IS NOT NULL"))

# Jobs that send dead letters again (`worker.model.replays.Replay`).
replays = Table(
    "replays",
    metadata,
    Column("id", ID, primary_key=True),
    # Which letters are meant, as JSON.
    Column("selection", Text, nullable=False),
    # NULL: each letter's own integration.
    Column("target_id", ID),
    Column("state", Text, nullable=False),
    Column("rate", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("replayed", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("pages", BigInteger, nullable=False),
    Column("upto_ms", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("note", Text),
)

# The latest, and to forget the old ones; and those that run, which are looked for every second.
Index("replays_age", replays.c.created_ms)
Index("replays_running", replays.c.created_ms, **_if("state = 'running'"))

# What was counted in all, since revision 0012: of the rows that say so, the old ones are pruned.
ledger_totals = Table(
    "ledger_totals",
    metadata,
    Column("name", ID, primary_key=True),
    Column("total", BigInteger, nullable=False),
)

# Events that a backlog had no room for, in the chunks in which it held them (`worker.model.parking`).
parked = Table(
    "parked",
    metadata,
    # The id of its stream entry, "ms-seq": the same chunk has the same name again.
    Column("name", ID, primary_key=True),
    Column("integration_id", ID, nullable=False),
    Column("urgent", Boolean, nullable=False),
    # `milliseconds << 20 | sequence` of the entry of the backlog that held it.
    Column("position", BigInteger, nullable=False),
    Column("events", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    Column("parked_ms", BigInteger, nullable=False),
)

# The oldest of an integration's lane, and how many there are: both without a look at the events.
Index("parked_order", parked.c.integration_id, parked.c.urgent, parked.c.position, parked.c.events)
# To forget the old ones.
Index("parked_age", parked.c.parked_ms)

# What happened to an integration in each minute, by `settled_ms`: health reads this, not the deliveries.
minute_counts = Table(
    "minute_counts",
    metadata,
    Column("integration_id", ID, primary_key=True),
    # The minute's first millisecond.
    Column("minute_ms", BigInteger, primary_key=True),
    Column("delivered", BigInteger, nullable=False),
    # Settlements that ended in a retry; one event may count several times.
    Column("retried", BigInteger, nullable=False),
    Column("dead", BigInteger, nullable=False),
    # Over the delivered.
    Column("latency_sum_ms", BigInteger, nullable=False),
    Column("latency_max_ms", BigInteger, nullable=False),
)

# The stream entries whose content is in the tables above: what makes recording twice change nothing.
recorded_entries = Table(
    "recorded_entries",
    metadata,
    # `o:<id>` for an entry of the outcomes, `d:<id>` for one of the dead letters, `p:<id>` of the parked.
    Column("stream_entry", ID, primary_key=True),
    Column("recorded_ms", BigInteger, nullable=False),
)

# To forget the old ones.
Index("recorded_entries_age", recorded_entries.c.recorded_ms)

# The keys of the HTTP API (`worker.model.api_keys`).
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    # SHA-256 of the key's text, in hexadecimal digits.
    Column("digest", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

# One row: the id by which Redis knows this ledger (`siem:ledger`).
ledger_identity = Table(
    "ledger_identity",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
)

# The epochs of Redis and the latest mark of each (`worker.model.redis_marks`); one has not ended.
redis_epochs = Table(
    "redis_epochs",
    metadata,
    Column("id", ID, primary_key=True),
    # 0 until the epoch stands in Redis.
    Column("mark", BigInteger, nullable=False),
    # By the clock of Redis.
    Column("marked_ms", BigInteger, nullable=False),
    # As JSON.
    Column("figures", Text, nullable=False),
    Column("began_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
)

# What was found missing in Redis; kept as evidence, and not ok until it is acknowledged.
redis_losses = Table(
    "redis_losses",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("found_ms", BigInteger, nullable=False),
    # How many are missing, at the least.
    Column("events", BigInteger, nullable=False),
    # The whole as JSON.
    Column("document", Text, nullable=False),
    Column("acknowledged_ms", BigInteger),
    Column("acknowledged_by", Text),
    Column("acknowledgement", Text),
)

# A row for each step of `migrations/` from 0008 on that these tables have taken.
schema_revisions = Table(
    "schema_revisions",
    metadata,
    Column("revision", Text, primary_key=True),
    # The oldest revision whose code works with the tables since this step.
    Column("readable_from", Text, nullable=False),
    # The release that brought the step.
    Column("release", Text, nullable=False),
    Column("applied_ms", BigInteger, nullable=False),
)
