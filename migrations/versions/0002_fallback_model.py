"""Pages that wait for the fallback model, tries by their place on the ladder, and the starts of the model server.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only additions: no table is rebuilt, so the triggers on `pages` stay."""
    op.add_column("pages", sa.Column("ladder_from", sa.Integer(), server_default="0", nullable=False))
    # What was tried before this version has no rung: a page that was under way climbs from the foot again.
    op.execute("UPDATE pages SET ladder_from = attempts")
    op.create_index(
        "ix_pages_parked",
        "pages",
        ["document_id", "number"],
        unique=False,
        sqlite_where=sa.text("state = 'parked'"),
    )
    op.add_column("attempts", sa.Column("rung", sa.String(length=16), server_default="", nullable=False))
    op.add_column("attempts", sa.Column("cause", sa.String(length=16), server_default="", nullable=False))
    op.create_table(
        "server_starts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("image_id", sa.Text(), nullable=False),
        sa.Column("spec", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("failure", sa.String(length=32), server_default="", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("details", sa.Text(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_server_starts")),
    )
    op.create_index("ix_server_starts_model", "server_starts", ["model", "image_id", "id"], unique=False)


def downgrade() -> None:
    """Not offered: restore the backup that was made before the upgrade."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
