"""The acceptance test of models: which of those in the cache work here, how fast, and how well they read."""

from __future__ import annotations
