"""On PostgreSQL, the index of a period that is over takes a row for many keys, no longer one for each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
release = "0.2.0"
readable_from = "0007"
#: Undoing it writes into the indexes of 0014 what these hold.
kept = ("delivered_keys", "sealed_periods")

#: Keys of a bucket at the most, on average: as many as stand in a row that stays whole (below 2 kB).
_BUCKET = 110
#: As in 0014.
_FUNCTION = """
CREATE FUNCTION {name}({given} bigint) RETURNS {result} LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
DECLARE
    {variables}
BEGIN
    PERFORM set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);
    IF NOT has_table_privilege(session_user, 'delivered_batches', '{right}') THEN
        RAISE insufficient_privilege USING MESSAGE = 'permission denied for function {name}';
    END IF;
{body}
END $$
"""
#: Puts about so many keys of the oldest index that is not sealed yet into buckets, in the order of the keys,
#: and drops the index behind the last of them; not those of the last two periods. Returns how many buckets.
_SEAL = _FUNCTION.format(
    name="siem_seal_keys",
    given="most",
    result="bigint",
    right="INSERT",
    variables="one record; span text; size bigint; upto bigint; shift integer;",
    body=f"""\
    SELECT p.id, p.events, s.bits, s.buckets INTO one
    FROM delivery_periods p LEFT JOIN sealed_periods s ON s.period = p.id
    WHERE s.finished IS NOT true
    AND p.id < (SELECT min(near.id) FROM (SELECT id FROM delivery_periods ORDER BY id DESC LIMIT 2) near)
    ORDER BY p.id LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF one.bits IS NULL THEN
        one.bits := greatest(1, ceil(log(2, greatest(one.events, 1) / {_BUCKET}.0)));
        one.buckets := 0;
        INSERT INTO sealed_periods VALUES (one.id, one.bits, 0, false);
        -- As those of batches: sixteen periods share a table, which is dropped as a whole.
        span := 'delivered_keys_of_' || one.id / 16;
        IF to_regclass(span) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE delivered_keys INCLUDING ALL)', span);
            EXECUTE format('ALTER TABLE delivered_keys ATTACH PARTITION %I FOR VALUES IN (%s)', span, (
                SELECT string_agg((one.id / 16 * 16 + place)::text, ',') FROM generate_series(0, 15) place
            ));
        END IF;
    END IF;
    size := 1::bigint << one.bits;
    shift := 64 - one.bits;
    upto := least(size, one.buckets + greatest(1, most * size / greatest(one.events, 1)));
    IF one.buckets < size THEN
        -- Keys have a sign: the first bucket is -size / 2. Up to the last key of the last bucket.
        EXECUTE format(
            'INSERT INTO delivered_keys (period, bucket, keys, numbers)'
            ' SELECT %1$s, key >> %2$s, array_agg(key), array_agg(number) FROM delivered_ids_%1$s'
            ' WHERE key BETWEEN %3$s AND %4$s GROUP BY key >> %2$s',
            one.id, shift, (one.buckets - size / 2) << shift,
            ((upto - 1 - size / 2) << shift) | ~((-1)::bigint << shift)
        );
        UPDATE sealed_periods SET buckets = upto WHERE period = one.id;
    END IF;
    IF upto = size THEN
        BEGIN
            -- Whoever reads it holds up nobody: the next call tries again.
            EXECUTE format('LOCK TABLE delivered_ids_%s IN ACCESS EXCLUSIVE MODE NOWAIT', one.id);
            EXECUTE format('DROP TABLE delivered_ids_%s', one.id);
            UPDATE sealed_periods SET finished = true WHERE period = one.id;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END IF;
    RETURN upto - one.buckets;""",  # noqa: S608 - names of ours
)
_DROP = _FUNCTION.format(
    name="siem_drop_keys",
    given="old",
    result="void",
    right="DELETE",
    variables="span text;",
    body="""\
    DELETE FROM sealed_periods one WHERE one.period = old;
    IF NOT EXISTS (SELECT FROM sealed_periods one WHERE one.period / 16 = old / 16) THEN
        span := 'delivered_keys_of_' || old / 16;
        EXECUTE format('DROP TABLE IF EXISTS %I', span);
    END IF;""",
)
#: Gives sealed periods, and those that are half sealed, their whole index as 0014 knows it.
_UNSEAL = """
DO $$ DECLARE one bigint; BEGIN FOR one IN SELECT period FROM sealed_periods WHERE finished LOOP
    PERFORM siem_add_period(one);
    EXECUTE format(
        'INSERT INTO delivered_ids_%1$s SELECT each.key, each.number FROM delivered_keys k,'
        ' unnest(k.keys, k.numbers) each(key, number) WHERE k.period = %1$s', one);
END LOOP; END $$
"""


def upgrade() -> None:
    """Make the tables and the functions; an index of 0014 is sealed as the recorder goes on."""
    if op.get_context().dialect.name != "postgresql":
        return
    op.create_table(
        "sealed_periods",
        sa.Column("period", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("bits", sa.Integer(), nullable=False),
        sa.Column("buckets", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "delivered_keys",
        sa.Column("period", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("keys", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("numbers", postgresql.ARRAY(sa.Integer()), nullable=False),
        postgresql_partition_by="LIST (period)",
    )
    op.execute(_SEAL)
    op.execute(_DROP)


def downgrade() -> None:
    """Give each key a row again, and drop the rest."""
    if op.get_context().dialect.name != "postgresql":
        return
    op.execute(_UNSEAL)
    op.execute("DROP FUNCTION siem_seal_keys")
    op.execute("DROP FUNCTION siem_drop_keys")
    op.drop_table("delivered_keys")
    op.drop_table("sealed_periods")
