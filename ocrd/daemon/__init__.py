"""The one place that joins the store and the stages, and keeps them alive."""

from __future__ import annotations
