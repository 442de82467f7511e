"""The only SQL: documents, pages, attempts, results, events, outputs, commands."""

from __future__ import annotations
