"""ocrd: drop scans into a folder, find their text beside them.

The way of a file, which is also the order of the modules of `ocrd.pipeline`:

    inbox → intake → store → rasterizer → recognizer → transcript → writer

Imports only point down: cli → daemon → {pipeline | store} → {host, telemetry} → settings → domain.
"""

from __future__ import annotations

__version__ = "0.1.0"
