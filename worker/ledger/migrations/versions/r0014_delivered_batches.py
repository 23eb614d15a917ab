"""Plain deliveries: one row a batch, an index for each period of time, and a view of all deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
release = "0.2.0"
readable_from = "0007"
#: Undoing it writes into `deliveries` what these hold.
kept = ("delivered_batches", "delivery_periods")

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_COLUMNS = (
    "event_id, integration_id, event_type, status, attempts, http_status, error_code, error, hint, event_ms,"
    " published_ms, settled_ms, latency_ms, retry_at_ms, version, assurance, content"
)
#: What has a row of its own is left out of its batch.
_MOVED = """
    b.moved > 0 AND EXISTS (
        SELECT 1 FROM deliveries d WHERE d.integration_id = b.integration_id
        AND (d.event_id = {id} OR d.event_id = {id} || {separator} || {content})
        AND (d.content IS NULL OR {content} IS NULL OR d.content = {content})
    )"""
_SQLITE_ID = "json_extract(e.value, '$[0]')"
_SQLITE_CONTENT = (
    "CASE WHEN length(b.contents) > 0 THEN lower(hex(substr(b.contents, 16 * e.key + 1, 16))) END"
)
_SQLITE_PUBLISHED = "b.settled_ms - json_extract(e.value, '$[2]')"
_SQLITE = f"""
CREATE VIEW delivery_status AS
SELECT {_COLUMNS} FROM deliveries
UNION ALL
SELECT {_SQLITE_ID}, b.integration_id, json_extract(b.types, '$[' || json_extract(e.value, '$[1]') || ']'),
    'delivered', 1, b.http_status, NULL, NULL, NULL, {_SQLITE_PUBLISHED} - json_extract(e.value, '$[3]'),
    {_SQLITE_PUBLISHED}, b.settled_ms, max(json_extract(e.value, '$[2]'), 0), NULL, b.version, b.assurance,
    {_SQLITE_CONTENT}
FROM delivered_batches b, json_each(b.packed) e
WHERE NOT ({_MOVED.format(id=_SQLITE_ID, separator="char(31)", content=_SQLITE_CONTENT)})
"""  # noqa: S608 - names of ours
_POSTGRES_ID = '(e.value->>0) COLLATE "C"'
_POSTGRES_CONTENT = (
    "CASE WHEN length(b.contents) > 0"
    " THEN encode(substr(b.contents, 16 * e.ordinality::int - 15, 16), 'hex') END"
)
_POSTGRES_PUBLISHED = "b.settled_ms - (e.value->>2)::bigint"
_POSTGRES = f"""
CREATE VIEW delivery_status AS
SELECT {_COLUMNS} FROM deliveries
UNION ALL
SELECT {_POSTGRES_ID}, b.integration_id, b.types::json->>(e.value->>1)::int,
    'delivered', 1, b.http_status, NULL, NULL, NULL, {_POSTGRES_PUBLISHED} - (e.value->>3)::bigint,
    {_POSTGRES_PUBLISHED}, b.settled_ms, greatest((e.value->>2)::bigint, 0), NULL, b.version, b.assurance,
    {_POSTGRES_CONTENT}
FROM delivered_batches b, json_array_elements(b.packed::json) WITH ORDINALITY e
WHERE NOT ({_MOVED.format(id=_POSTGRES_ID, separator="chr(31)", content=_POSTGRES_CONTENT)})
"""  # noqa: S608 - names of ours
#: They do what the role of the fleet may not do itself, with the rights of the tables' owner; for those alone
#: who may write batches. No table of a session stands before those of the ledger (pg_temp comes last).
_FUNCTION = """
CREATE FUNCTION {name}(period bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
DECLARE
    allowed text;
    span text;
BEGIN
    PERFORM set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);
    IF NOT has_table_privilege(session_user, 'delivered_batches', '{right}') THEN
        RAISE insufficient_privilege USING MESSAGE = 'permission denied for function {name}';
    END IF;
{body}
END $$
"""
_ADD_PERIOD = _FUNCTION.format(
    name="siem_add_period",
    right="INSERT",
    body="""\
    EXECUTE format('CREATE TABLE delivered_ids_%s (key bigint PRIMARY KEY, number integer NOT NULL)', period);
    -- What a role may do with batches it may do with their index.
    FOR allowed IN
        SELECT format('GRANT %s ON delivered_ids_%s TO %s', privilege_type, period, grantee::regrole)
        FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'delivered_batches'::regclass AND grantee NOT IN (0, relowner)
    LOOP
        EXECUTE allowed;
    END LOOP;
    -- Sixteen periods share a table: a question about all of them looks into each, and locks it.
    span := 'delivered_batches_of_' || period / 16;
    IF to_regclass(span) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE delivered_batches INCLUDING ALL)', span);
        EXECUTE format('ALTER TABLE delivered_batches ATTACH PARTITION %I FOR VALUES IN (%s)', span, (
            SELECT string_agg((period / 16 * 16 + one)::text, ',') FROM generate_series(0, 15) one
        ));
    END IF;""",
)
_DROP_PERIOD = _FUNCTION.format(
    name="siem_drop_period",
    right="DELETE",
    body="""\
    EXECUTE format('DROP TABLE IF EXISTS delivered_ids_%s', period);
    IF NOT EXISTS (SELECT FROM delivery_periods one WHERE one.id / 16 = period / 16 AND one.id <> period) THEN
        span := 'delivered_batches_of_' || period / 16;
        EXECUTE format('DROP TABLE IF EXISTS %I', span);
    END IF;""",
)


def upgrade() -> None:
    """Make the tables and the view; a process of an earlier release sees only what has a row of its own."""
    op.create_table(
        "delivered_batches",
        sa.Column("period", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("integration_id", _ID, nullable=False),
        sa.Column("settled_ms", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("assurance", sa.Text()),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("moved", sa.Integer(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("packed", sa.Text(), nullable=False),
        sa.Column("contents", sa.LargeBinary(), nullable=False),
        postgresql_partition_by="LIST (period)",
    )
    op.create_index(
        "delivered_batches_latest", "delivered_batches", ["integration_id", "settled_ms", "events", "moved"]
    )
    op.create_index("delivered_batches_latest_of_all", "delivered_batches", ["settled_ms"])
    op.create_table(
        "delivery_periods",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("began_ms", sa.BigInteger(), nullable=False),
        sa.Column("newest_ms", sa.BigInteger(), nullable=False),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(_POSTGRES)
        op.execute(_ADD_PERIOD)
        op.execute(_DROP_PERIOD)
    else:
        op.execute(_SQLITE)


def downgrade() -> None:
    """Give each delivery a row of its own, as far as the ids are not taken, and drop the rest."""
    only = "WHERE true" if op.get_context().dialect.name == "sqlite" else ""
    op.execute(
        f"INSERT INTO deliveries ({_COLUMNS}) SELECT {_COLUMNS} FROM delivery_status {only}"  # noqa: S608 - names of ours
        " ON CONFLICT DO NOTHING"
    )
    op.execute("DROP VIEW delivery_status")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION siem_add_period")
        op.execute(
            "DO $$ DECLARE one bigint; BEGIN FOR one IN SELECT id FROM delivery_periods LOOP"
            " PERFORM siem_drop_period(one); DELETE FROM delivery_periods WHERE id = one; END LOOP; END $$"
        )
        op.execute("DROP FUNCTION siem_drop_period")
    op.drop_table("delivery_periods")
    op.drop_table("delivered_batches")
