"""The index of `ocrd search`, and what is still to be put into it.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The trigger's own condition instead of OR IGNORE: the statement that fires it may bring another conflict clause.
NOTE = (
    "WHEN NEW.result_id IS NOT NULL BEGIN INSERT INTO searched (result_id) SELECT NEW.result_id "
    "WHERE NOT EXISTS (SELECT 1 FROM searched WHERE result_id = NEW.result_id); END"
)


def upgrade() -> None:
    """Only additions. The words are put in later, a few pages at a time: here it would take minutes."""
    op.create_table(
        "searched",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=False),
        sa.Column("done", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["result_id"], ["results.id"], name=op.f("fk_searched_result_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searched")),
        sa.UniqueConstraint("result_id", name=op.f("uq_searched_result_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_searched_waiting", "searched", ["id"], unique=False, sqlite_where=sa.text("NOT done"))
    # Without content: the text stands in `results` already. The stems come separated by blanks, so the simplest
    # tokenizer does.
    op.execute("CREATE VIRTUAL TABLE search_words USING fts5(stems, content='', tokenize='ascii')")
    op.execute(f"CREATE TRIGGER search_page_insert AFTER INSERT ON pages {NOTE}")
    op.execute(f"CREATE TRIGGER search_page_update AFTER UPDATE OF result_id ON pages {NOTE}")
    op.execute(
        "INSERT INTO searched (result_id) SELECT DISTINCT result_id FROM pages WHERE result_id IS NOT NULL "
        "ORDER BY result_id"
    )


def downgrade() -> None:
    """Not offered: restore the backup that was made before the upgrade."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
