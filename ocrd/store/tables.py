"""The tables. Times are seconds since 1970 in UTC; paths are the raw bytes of the file system.

`counts` is kept by triggers, so that `ocrd status` costs the same with a million documents as with none.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ocrd.domain.jobs import DocumentState, PageState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: type[DocumentState | PageState]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


documents = Table(
    "documents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("inbox", Text, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("current", Boolean(create_constraint=False), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("fingerprint", String(16), nullable=False),
    Column("media_type", String(40), nullable=False),
    Column("size", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason_code", String(32), nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    Column("pages", Integer, nullable=False),
    Column("pages_done", Integer, nullable=False, server_default="0"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("overwrite", Boolean(create_constraint=False), nullable=False, server_default="0"),
    Column("reread", Boolean(create_constraint=False), nullable=False, server_default="0"),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("seconds", Float, nullable=False, server_default="0"),
    _one_of("state", DocumentState),
    UniqueConstraint("path", "revision"),
)
Index(
    "ix_documents_claim", documents.c.priority.desc(), documents.c.id, sqlite_where=text("state = 'queued'")
)
Index("ix_documents_content", documents.c.sha256, documents.c.fingerprint)
Index("ix_documents_state", documents.c.state)
Index("ix_documents_inbox", documents.c.inbox, sqlite_where=text("current"))

results = Table(
    "results",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

pages = Table(
    "pages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("verdict", String(12), nullable=False, server_default=""),
    Column("reason_code", String(32), nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    Column("claims", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("result_id", ForeignKey("results.id")),
    Column("finished_at", Float),
    Column("ladder_from", Integer, nullable=False, server_default="0"),
    _one_of("state", PageState),
    UniqueConstraint("document_id", "number"),
)
Index("ix_pages_pending", pages.c.document_id, pages.c.number, sqlite_where=text("state = 'pending'"))
Index("ix_pages_parked", pages.c.document_id, pages.c.number, sqlite_where=text("state = 'parked'"))
Index("ix_pages_running", pages.c.document_id, pages.c.number, sqlite_where=text("state = 'running'"))
Index("ix_pages_finished_at", pages.c.finished_at, sqlite_where=text("finished_at IS NOT NULL"))
Index("ix_pages_result_id", pages.c.result_id)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("page_id", ForeignKey("pages.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("engine", Text, nullable=False),
    Column("model_revision", Text, nullable=False, server_default=""),
    Column("prompt_mode", Text, nullable=False, server_default=""),
    Column("sampling", Text, nullable=False, server_default="{}"),
    Column("dpi", Float, nullable=False, server_default="0"),
    Column("tokens", Integer, nullable=False, server_default="0"),
    Column("seconds", Float, nullable=False, server_default="0"),
    Column("verdict", String(12), nullable=False),
    Column("reason_code", String(32), nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    Column("ended_at", Float, nullable=False),
    Column("result_id", ForeignKey("results.id")),
    Column("rung", String(16), nullable=False, server_default=""),
    Column("cause", String(16), nullable=False, server_default=""),
    UniqueConstraint("page_id", "number"),
)
Index("ix_attempts_result_id", attempts.c.result_id)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("page", Integer),
    Column("old", String(12), nullable=False),
    Column("new", String(12), nullable=False),
    Column("why", Text, nullable=False, server_default=""),
)
Index("ix_events_document_id", events.c.document_id)

outputs = Table(
    "outputs",
    metadata,
    Column("path", LargeBinary, primary_key=True),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("format", String(12), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("planned_sha256", String(64), nullable=False, server_default=""),
    Column("written_at", Float, nullable=False),
)
Index("ix_outputs_document_id", outputs.c.document_id)

relocations = Table(
    "relocations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("source", LargeBinary, nullable=False),
    Column("target", LargeBinary),
)
"""Originals that are to be moved: one row without a target when that is decided, one for each file once it is known
where they go (the outputs first, the original last), none when all have arrived."""
Index("ix_relocations_document_id", relocations.c.document_id)

commands = Table(
    "commands",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("verb", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("done_at", Float),
    Column("answer", Text, nullable=False, server_default="{}"),
)
Index("ix_commands_open", commands.c.id, sqlite_where=text("done_at IS NULL"))

daemon = Table(
    "daemon",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", Float, nullable=False),
)
"""Small facts about the running daemon: `heartbeat` (JSON for `ocrd status`), `paused` (why)."""

server_starts = Table(
    "server_starts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", Text, nullable=False),
    Column("image_id", Text, nullable=False),
    Column("spec", String(16), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("failure", String(32), nullable=False, server_default=""),
    Column("message", Text, nullable=False, server_default=""),
    Column("details", Text, nullable=False, server_default="{}"),
)
"""Every start of the model server: what was planned and measured (`details`), and what came of it (`failure` is
empty where it became ready)."""
Index("ix_server_starts_model", server_starts.c.model, server_starts.c.image_id, server_starts.c.id)

counts = Table(
    "counts",
    metadata,
    Column("kind", String(12), primary_key=True),
    Column("value", String(12), primary_key=True),
    Column("n", Integer, nullable=False),
)

searched = Table(
    "searched",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("result_id", ForeignKey("results.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("done", Boolean(create_constraint=False), nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
"""Results of pages, and whether their words are in the index of `ocrd search` (the FTS5 table `search_words`, whose rows
have these numbers). A trigger adds the rows; numbers are never used again, because words cannot be taken out."""
Index("ix_searched_waiting", searched.c.id, sqlite_where=text("NOT done"))
