"""Pure decisions and plain data: no clock, no files, no network, no logging."""

from __future__ import annotations
