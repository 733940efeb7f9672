"""Reports of control material by index: a list must tell them from patients' without a scan."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index; of the many reports only the few of controls are in it."""
    op.execute(
        text("CREATE INDEX reports_of_controls ON reports (sample_key) WHERE kind = 'control'")
    )
