"""The first schema.

Revision: 0001, after nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table, and the triggers that keep `counts`."""
    _create_tables()
    for kind, table, column in COUNTED:
        _create_triggers(kind, table, column)


def downgrade() -> None:
    """Not offered: there is nothing before."""
    raise NotImplementedError("there is no schema before the first")


COUNTED = (("document", "documents", "state"), ("page", "pages", "state"), ("verdict", "pages", "verdict"))
"""What `ocrd status` shows at once, however many rows there are: documents and pages by state, pages by verdict."""


def _create_triggers(kind: str, table: str, column: str) -> None:
    add = (
        f"INSERT INTO counts (kind, value, n) VALUES ('{kind}', NEW.{column}, 1) "
        "ON CONFLICT (kind, value) DO UPDATE SET n = n + 1;"
    )
    remove = f"UPDATE counts SET n = n - 1 WHERE kind = '{kind}' AND value = OLD.{column};"
    name = f"count_{kind}"
    op.execute(f"CREATE TRIGGER {name}_insert AFTER INSERT ON {table} BEGIN {add} END")
    op.execute(f"CREATE TRIGGER {name}_delete AFTER DELETE ON {table} BEGIN {remove} END")
    op.execute(
        f"CREATE TRIGGER {name}_update AFTER UPDATE OF {column} ON {table} "
        f"WHEN OLD.{column} <> NEW.{column} BEGIN {remove} {add} END"
    )


def _create_tables() -> None:
    op.create_table(
        "commands",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("done_at", sa.Float(), nullable=True),
        sa.Column("answer", sa.Text(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commands")),
    )
    op.create_index(
        "ix_commands_open", "commands", ["id"], unique=False, sqlite_where=sa.text("done_at IS NULL")
    )
    op.create_table(
        "counts",
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("value", sa.String(length=12), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "value", name=op.f("pk_counts")),
    )
    op.create_table(
        "daemon",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_daemon")),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("inbox", sa.Text(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.Column("media_type", sa.String(length=40), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("mtime_ns", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason_code", sa.String(length=32), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("pages_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("overwrite", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("reread", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("seconds", sa.Float(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'partial', 'failed', 'rejected', 'cancelled')",
            name=op.f("ck_documents_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
        sa.UniqueConstraint("path", "revision", name=op.f("uq_documents_path_revision")),
    )
    op.create_index(
        "ix_documents_claim",
        "documents",
        [sa.literal_column("priority DESC"), "id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.create_index("ix_documents_content", "documents", ["sha256", "fingerprint"], unique=False)
    op.create_index(
        "ix_documents_inbox", "documents", ["inbox"], unique=False, sqlite_where=sa.text("current")
    )
    op.create_index("ix_documents_state", "documents", ["state"], unique=False)
    op.create_table(
        "results",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("document_id", sa.Integer(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("old", sa.String(length=12), nullable=False),
        sa.Column("new", sa.String(length=12), nullable=False),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name=op.f("fk_events_document_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_document_id", "events", ["document_id"], unique=False)
    op.create_table(
        "outputs",
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("document_id", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(length=12), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("planned_sha256", sa.String(length=64), server_default="", nullable=False),
        sa.Column("written_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name=op.f("fk_outputs_document_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_outputs")),
    )
    op.create_index("ix_outputs_document_id", "outputs", ["document_id"], unique=False)
    op.create_table(
        "pages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("document_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("verdict", sa.String(length=12), server_default="", nullable=False),
        sa.Column("reason_code", sa.String(length=32), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("claims", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'parked', 'done', 'blank', 'failed', 'cancelled')",
            name=op.f("ck_pages_state"),
        ),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name=op.f("fk_pages_document_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("fk_pages_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pages")),
        sa.UniqueConstraint("document_id", "number", name=op.f("uq_pages_document_id_number")),
    )
    op.create_index(
        "ix_pages_finished_at",
        "pages",
        ["finished_at"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_pages_pending",
        "pages",
        ["document_id", "number"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_pages_result_id", "pages", ["result_id"], unique=False)
    op.create_index(
        "ix_pages_running",
        "pages",
        ["document_id", "number"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("page_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("model_revision", sa.Text(), server_default="", nullable=False),
        sa.Column("prompt_mode", sa.Text(), server_default="", nullable=False),
        sa.Column("sampling", sa.Text(), server_default="{}", nullable=False),
        sa.Column("dpi", sa.Float(), server_default="0", nullable=False),
        sa.Column("tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("verdict", sa.String(length=12), nullable=False),
        sa.Column("reason_code", sa.String(length=32), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["page_id"], ["pages.id"], name=op.f("fk_attempts_page_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"], name=op.f("fk_attempts_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("page_id", "number", name=op.f("uq_attempts_page_id_number")),
    )
