"""The model server's states and what follows from a failure. Pure; `serving/keeper.py` carries it out.

absent → planning → starting → canary → ready → draining → stopping → settling → absent
             ↓          ↓         ↓        ↓
          refused     failed | blocked  ←──┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ocrd.domain.jobs import IllegalMove
from ocrd.domain.serving import Failure, ServerState

_S = ServerState
SERVER_MOVES: Mapping[ServerState, frozenset[ServerState]] = {
    _S.ABSENT: frozenset({_S.PLANNING}),
    _S.PLANNING: frozenset({_S.STARTING, _S.CANARY, _S.REFUSED, _S.FAILED, _S.BLOCKED, _S.ABSENT}),
    _S.REFUSED: frozenset({_S.PLANNING, _S.ABSENT}),
    _S.STARTING: frozenset({_S.CANARY, _S.REFUSED, _S.FAILED, _S.BLOCKED, _S.PLANNING, _S.STOPPING}),
    _S.CANARY: frozenset({_S.READY, _S.FAILED, _S.BLOCKED, _S.PLANNING, _S.STOPPING}),
    _S.READY: frozenset({_S.CANARY, _S.DRAINING, _S.FAILED, _S.BLOCKED, _S.PLANNING}),
    _S.DRAINING: frozenset({_S.STOPPING, _S.READY, _S.FAILED, _S.BLOCKED, _S.PLANNING}),
    _S.STOPPING: frozenset({_S.SETTLING}),
    _S.SETTLING: frozenset({_S.ABSENT}),
    _S.FAILED: frozenset({_S.PLANNING, _S.ABSENT}),
    _S.BLOCKED: frozenset({_S.PLANNING, _S.ABSENT}),
}
"""`planning → canary` is a running container that was adopted; `starting → planning` another, smaller plan."""

COMING = frozenset({_S.PLANNING, _S.STARTING, _S.CANARY, _S.DRAINING, _S.STOPPING, _S.SETTLING, _S.ABSENT})
"""A server that is wanted and in one of these is on its way: waiting makes sense."""


def check_server_move(old: ServerState, new: ServerState) -> None:
    """Raise IllegalMove unless the table has the move."""
    if new not in SERVER_MOVES[old]:
        raise IllegalMove(f"server: {old} → {new}")


PERMANENT = frozenset(
    {
        Failure.UNSUPPORTED_MODEL,
        Failure.NEEDS_REMOTE_CODE,
        Failure.BAD_ARGUMENT,
        Failure.CACHE_READ_ONLY,
        Failure.CANARY_FAILED,
        Failure.WSL_UVA,
    }
)
"""Starting the same model from the same image with the same settings again would end the same way."""
STEPS_DOWN = frozenset(
    {
        Failure.VRAM_BUSY,
        Failure.NO_KV,
        Failure.KV_TOO_SMALL,
        Failure.CUDA_OOM,
        Failure.WSL_RESIDENCY,
    }
)
"""A smaller plan may help at once."""
UNMET = frozenset({Failure.NO_GPU, Failure.IMAGE_MISSING, Failure.MODEL_INCOMPLETE})
"""Something is missing that only the user can provide; looked for again now and then."""
UNCOUNTED = frozenset({Failure.ENGINE_UNAVAILABLE, Failure.KILLED})
"""Nothing about the model or its plan: no reason to think that the next start will fail too."""

FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 300.0
UNMET_PAUSE_S = 60.0
BREAKER_STRIKES = 5
BREAKER_PAUSE_S = 1800.0
"""After so many failures in a row, a start is tried only twice an hour."""


def pause_s(strikes: int) -> float:
    """How long to wait before the next start after `strikes` failures in a row (from 1)."""
    if strikes > BREAKER_STRIKES:
        return BREAKER_PAUSE_S
    return float(min(FIRST_PAUSE_S * 2.0 ** (strikes - 1), LONGEST_PAUSE_S))


@dataclass(frozen=True, slots=True)
class Consequence:
    """What to do after a failure: a smaller plan at once, a pause (in seconds), or nothing more (`blocked`)."""

    state: ServerState
    pause_s: float = 0.0


def after_failure(
    failure: Failure, *, strikes: int, smaller_plan: bool, was_ready: bool = False
) -> Consequence:
    """`strikes` counts this failure; `smaller_plan` says that the planner has one for it. A server that `was_ready` can
    start: what ended it may be a single page, for which the others are not to wait half an hour."""
    if failure in STEPS_DOWN and smaller_plan:
        return Consequence(ServerState.PLANNING)
    if failure in PERMANENT:
        return Consequence(ServerState.BLOCKED)
    if failure in UNMET:
        return Consequence(ServerState.REFUSED, UNMET_PAUSE_S)
    pause = pause_s(max(1, strikes))
    return Consequence(ServerState.FAILED, min(pause, LONGEST_PAUSE_S) if was_ready else pause)
