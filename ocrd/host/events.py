"""Events that combine others."""

from __future__ import annotations

from threading import Event


class Either(Event):
    """Set as soon as one of two events is; to be asked with `is_set` only."""

    def __init__(self, one: Event, other: Event) -> None:
        super().__init__()
        self._one = one
        self._other = other

    def is_set(self) -> bool:
        """Whether one of the two is set."""
        return self._one.is_set() or self._other.is_set()
