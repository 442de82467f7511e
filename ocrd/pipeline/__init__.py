"""The stages a file goes through, one module each, in the order of the flow."""

from __future__ import annotations
