"""Alembic's entry point: runs the steps on the connection that `worker.ledger.engine.upgrade` hands over.

Reads no configuration file, and neither begins nor ends the transaction: the caller does.
"""

from alembic import context

from worker.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
