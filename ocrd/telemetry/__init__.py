"""What ocrd tells of itself while it works."""

from __future__ import annotations
