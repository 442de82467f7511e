"""${message}

Revision: ${up_revision}, after ${down_revision | comma,n}.
"""
# Add what can be added: `batch_alter_table` rebuilds the table, and the triggers on `documents` and `pages` that keep
# `counts` are lost with the old one. If it has to be, make them anew as 0001 does. Then: migrations/snapshot.py.

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Not offered: restore the backup that was made before the upgrade."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
