"""People may see the updates on their way, and the rings of their own boxes."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let readers read the two tables; a rollout is nobody's own, a ring is its box's."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("GRANT SELECT ON rollouts, ring_pins TO edge_read")
    op.execute("ALTER TABLE ring_pins ENABLE ROW LEVEL SECURITY")
    # Devices are seen under their own policy.
    op.execute(
        "CREATE POLICY own_clinics ON ring_pins FOR SELECT TO edge_read"
        " USING (device_id IN (SELECT id FROM devices))"
    )
