"""Updates on their way through the fleet, and boxes whose ring the operator chose."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _moment(name: str, *, needed: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not needed)


def upgrade() -> None:
    """Make the tables; only the server itself and the operator's commands use them."""
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("item", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("ring", sa.Integer, nullable=False),
        sa.Column("hours", sa.Float, nullable=False),
        sa.Column("max_failed_percent", sa.Float, nullable=False),
        _moment("created_at"),
        _moment("ring_since"),
        _moment("well_since", needed=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "ring_pins",
        sa.Column("device_id", sa.Text, sa.ForeignKey("devices.id"), primary_key=True),
        sa.Column("ring", sa.Integer, nullable=False),
    )
