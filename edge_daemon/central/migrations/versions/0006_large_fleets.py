"""Indices that answer a large fleet's questions without reading what is not shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SHOWN = "kind = 'run' AND newest"
"""What lists of results show: a third of the rows or more are reports and older versions."""


def upgrade() -> None:
    """Make them; a flag gets the time of its result, so that its newest are found first."""
    op.drop_index("results_in_time", "results")
    op.drop_index("results_of_a_clinic", "results")
    for name, columns in (
        ("results_in_time", []),
        ("results_of_a_clinic", ["clinic_id"]),
        ("results_of_a_species", ["species"]),
        ("results_of_a_status", ["status"]),
        ("results_of_an_instrument", ["instrument"]),
    ):
        _of_results(name, columns, _SHOWN)
    _of_results("results_simulated", [], f"simulated AND {_SHOWN}")
    with op.batch_alter_table("result_flags") as flags:
        flags.add_column(sa.Column("at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE result_flags SET at ="
        " (SELECT r.at FROM results AS r WHERE r.document_id = result_flags.document_id)"
    )
    with op.batch_alter_table("result_flags") as flags:
        flags.alter_column("at", nullable=False)
    op.create_index("flags_in_time", "result_flags", ["code", "at", "document_id"])
    op.create_index("flags_of_a_clinic", "result_flags", ["clinic_id", "code", "at", "document_id"])
    op.create_index("pairs_of_an_instrument", "pairs", ["instrument", "at", "run_id"])
    op.create_index("drifts_by_state", "drifts", ["state"])
    op.create_index("audit_of_a_clinics_action", "audit", ["clinic_id", "action", "id"])
    op.create_index("audit_of_a_chain", "audit", ["chain_id", "action", "id"])
    op.create_index("audit_of_an_action", "audit", ["action", "id"])


def _of_results(name: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        "results",
        [*columns, "at", "document_id"],
        postgresql_where=sa.text(where),
        sqlite_where=sa.text(where),
    )
