"""The model server: which models there are, what they need, and the one container that runs one of them."""

from __future__ import annotations
