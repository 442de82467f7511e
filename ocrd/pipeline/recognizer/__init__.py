"""The engines that read a page, each behind the `Recognizer` protocol."""

from __future__ import annotations
