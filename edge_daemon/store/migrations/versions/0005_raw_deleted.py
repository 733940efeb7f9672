"""When the raw bytes of a capture were deleted to keep the archive within its budget."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE captures ADD COLUMN raw_deleted_wall TEXT",
    "CREATE INDEX captures_raw_deleted ON captures (id) WHERE raw_deleted_wall IS NOT NULL",
)


def upgrade() -> None:
    """Add the column and its index: nothing was deleted before."""
    for statement in STATEMENTS:
        op.execute(text(statement))
