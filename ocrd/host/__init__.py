"""What touches the machine: time, programs, files, mounts, the service manager."""

from __future__ import annotations
