"""Scattergrams and histograms of runs, in a table of their own: lists never read them.

Runs of before have none until they are replayed.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE pictures (
        run_id INTEGER NOT NULL,
        body BLOB NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (run_id),
        FOREIGN KEY(run_id) REFERENCES runs (id)
    )
     STRICT""",
)


def upgrade() -> None:
    """Add the table."""
    for statement in STATEMENTS:
        op.execute(text(statement))
