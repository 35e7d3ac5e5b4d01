"""Alembic environment: runs migrations on the connection that `storage.schema.upgrade` passes."""

from alembic import context

from db import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
