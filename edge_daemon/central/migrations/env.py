"""Alembic's entry point; runs inside the one transaction that `central.migrate` opened."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # Alembic's default for SQLite would commit between migrations
)
with context.begin_transaction():
    context.run_migrations()
