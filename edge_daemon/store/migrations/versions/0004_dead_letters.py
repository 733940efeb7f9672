"""Why a dead letter of the outbox is dead, and an index to find them."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE outbox ADD COLUMN reason TEXT",
    "CREATE INDEX outbox_dead ON outbox (seq) WHERE state = 'dead'",
)


def upgrade() -> None:
    """Add the column and the index."""
    for statement in STATEMENTS:
        op.execute(text(statement))
