"""What several tests share: documents drawn at test time, and the real daemon as a process."""

from __future__ import annotations
