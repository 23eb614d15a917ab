"""The steps from one release's tables to the next: how to write one so that two releases work side by side.

While a fleet is upgraded, or rolled back, processes of two releases work on one database. So a release
*expands* the tables first, and only a later one *contracts* them: once no process needs the old shape.

A new step is a file `versions/r0009_what_it_adds.py` (the next free number) with:

- `revision = "0009"` and `down_revision = "0008"`: four digits, one line without branches.
- `release = "0.2.0"`: the release that brings it, which is `worker.__version__` then.
- `readable_from = "0007"`: the oldest revision whose *code* works, reading and writing, on the tables after
  this step. A step that only adds repeats the number of the step before it. A step that takes away or
  changes something names the first revision whose code no longer needs the old shape, its own at the
  latest. Left out, it is its own: no older process works with it.
- `kept`, if need be: tables that `downgrade()` drops, but writes into others what they hold. Else it is lost.
- `upgrade()` and `downgrade()`, which use nothing but `alembic.op` (not `op.get_bind()`):
  `worker.ledger.migrations.changes` reads from them what they would do, without a database.

Only these add: a new table (and rows in it), a column that may be NULL or has a `server_default`, an index
that is not unique or is on a new table. `tests/ledger/migrations/test_revisions.py` checks every step
from 0008 on.
Code must not write values into an old column that older code cannot read: that is a contraction, too.
An index on a large table stops its writers while it is built. On PostgreSQL the lock that adds a column stops
readers as well, until the end of the transaction in which all steps are taken: an index on the same table
behind it stops them too, and columns of other tables are added behind all indexes.

How a database says who can work with it (`worker.ledger.migrations.revisions`):

- `schema_revisions` has a row for each step from 0008 on, with its `readable_from` and `release`: code that
  has never heard of a step learns there whether it can go on.
- `alembic_version` holds the largest `readable_from`, *not* the latest step. Release 0.1.0 knows nothing of
  the other table and compares `alembic_version` with its own revision, 0007, exactly: it goes on while every
  step names 0007, and refuses after the first contraction.

A step is final once it is released. `tests/upgrades/previous_release` names the commit of the release that is
out: its processes run beside those of this one there, in both orders, under traffic.
"""
