"""What the fake vLLM server is made of; `pages` is shared with the tests, which draw what it reads."""

from __future__ import annotations
