"""What the command line may ask: retry, cancel, pause, resume. Carried out by whoever holds the daemon's lock,
which is the daemon while it runs and the command itself otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from ocrd.domain.errors import ReasonCode
from ocrd.domain.jobs import FINAL_DOCUMENTS, DocumentState
from ocrd.host import files
from ocrd.store.commands import Command, CommandStore
from ocrd.store.documents import DocumentStore, Job

PAUSED = "paused"
"""Key of the fact that the queue is paused; it outlives the daemon."""


class Hands(Protocol):
    """What an order needs of a running worker."""

    def pause(self, *, paused: bool) -> None:
        """Stop or go on beginning pages."""

    def end(self, document_id: int, code: ReasonCode, reason: str) -> bool:
        """Cancel a document that is in hand; whether it was."""

    def notify(self) -> None:
        """There may be work."""


class ServerHands(Protocol):
    """What an order needs of the model server."""

    def turn_on(self) -> None:
        """Let the model be there."""

    def turn_off(self) -> None:
        """Give the GPU back."""

    def lend(self, released: Callable[[], None]) -> None:
        """Stop the server and let go of its lock; `released` is called then."""


class Orders:
    """Carries out commands. An answer always has `message`, and `ok`."""

    def __init__(
        self,
        commands: CommandStore,
        documents: DocumentStore,
        hands: Hands | None,
        *,
        fingerprint_of: Callable[[bytes], str],
    ) -> None:
        self._commands = commands
        self._documents = documents
        self._hands = hands
        self._fingerprint_of = fingerprint_of
        self._server: ServerHands | None = None
        self._lending: set[int] = set()

    def drive(self, server: ServerHands) -> None:
        """There is a model server to give orders to."""
        self._server = server

    def carry_out_waiting(self) -> int:
        """Do everything that was asked; how much it was."""
        waiting = self._commands.waiting()
        for command in waiting:
            answer = self._answer_to(command)
            if answer is not None:
                self._commands.answer(command.id, answer)
        return len(waiting)

    def _answer_to(self, command: Command) -> dict[str, Any] | None:
        """None: it is answered later."""
        try:
            return self._carry_out(command)
        except (LookupError, TypeError, ValueError, OverflowError) as err:
            # It would stop the daemon, and wait for it at every start.
            return _answer(f"the request {command.verb!r} makes no sense: {err!r}", ok=False)

    def _carry_out(self, command: Command) -> dict[str, Any] | None:
        match command.verb:
            case "pause":
                return self._pause()
            case "resume":
                return self._resume()
            case "retry":
                return self._retry(command.arguments)
            case "cancel":
                return self._cancel(command.arguments)
            case "models_start" | "models_stop" | "models_lend":
                return self._order_server(command)
            case unknown:
                return _answer(f"this ocrd does not know the command {unknown!r}", ok=False)

    def _order_server(self, command: Command) -> dict[str, Any] | None:
        if self._server is None and command.verb == "models_lend":
            return _answer("this daemon keeps no model server, so there is none in the way")
        if self._server is None:
            return _answer("this daemon keeps no model server of its own; see: ocrd status", ok=False)
        if command.verb == "models_start":
            self._server.turn_on()
            return _answer("the model server is being started; see: ocrd status --watch")
        if command.verb == "models_stop":
            self._server.turn_off()
            return _answer("the model server is being stopped; start it again with: ocrd models start")
        if command.id not in self._lending:
            self._lending.add(command.id)
            answer = _answer("the model server is stopped; it is taken back when you are done")
            self._server.lend(lambda: self._commands.answer(command.id, answer))
        return None

    def _pause(self) -> dict[str, Any]:
        self._commands.set_fact(PAUSED, "paused by the user")
        if self._hands is not None:
            self._hands.pause(paused=True)
        return _answer("the queue is paused; pages in hand are finished. Go on with: ocrd resume")

    def _resume(self) -> dict[str, Any]:
        was_paused = self._commands.fact(PAUSED) is not None
        self._commands.drop_fact(PAUSED)
        if self._hands is not None:
            self._hands.pause(paused=False)
        return _answer("the queue goes on" if was_paused else "the queue was not paused")

    def _retry(self, arguments: dict[str, Any]) -> dict[str, Any]:
        again = arguments.get("again") or arguments.get("changed")
        chosen = self._choose(arguments)
        if chosen is None:
            return _unknown(arguments)
        overwrite = bool(arguments.get("overwrite"))
        retried = [
            number
            for number in chosen
            if self._documents.retry(
                number, overwrite=overwrite, reread_as=self._settings_of(number) if again else None
            )
        ]
        if self._hands is not None:
            self._hands.notify()
        if len(chosen) == 1 and not retried:
            return _answer(
                f"document {chosen[0]} is not finished yet, so there is nothing to retry", ok=False
            )
        return _answer(f"queued again: {_count(len(retried))}", documents=retried)

    def _settings_of(self, document_id: int) -> str | None:
        """The fingerprint of the settings that count for a document now."""
        job = self._documents.find(document_id)
        return None if job is None else self._fingerprint_of(job.path)

    def _choose(self, arguments: dict[str, Any]) -> list[int] | None:
        """The documents that a retry is about; None if one was named that does not exist."""
        if arguments.get("changed"):
            return self._documents.ids_read_otherwise(self._fingerprint_of)
        if arguments.get("failed"):
            return self._documents.ids_in_states(
                (DocumentState.FAILED, DocumentState.PARTIAL, DocumentState.REJECTED)
            )
        if arguments.get("all"):
            return self._documents.ids_in_states(tuple(FINAL_DOCUMENTS))
        job = self._find(arguments)
        return None if job is None else [job.id]

    def _cancel(self, arguments: dict[str, Any]) -> dict[str, Any]:
        job = self._find(arguments)
        if job is None:
            return _unknown(arguments)
        state = self._documents.cancel(job.id)
        if state is DocumentState.CANCELLED:
            return _answer(f"cancelled: {job.name}", documents=[job.id])
        reason = "cancelled by the user"
        if (
            state is DocumentState.RUNNING
            and self._hands
            and self._hands.end(job.id, ReasonCode.CANCELLED, reason)
        ):
            return _answer(
                f"being cancelled, the pages in hand are finished first: {job.name}", documents=[job.id]
            )
        return _answer(f"document {job.id} is {state} already: {job.name}", ok=False)

    def _find(self, arguments: dict[str, Any]) -> Job | None:
        if "id" in arguments:
            return self._documents.find(int(arguments["id"]))
        return self._documents.find_path(os.fsencode(arguments["path"]))


def _answer(message: str, *, ok: bool = True, **more: Any) -> dict[str, Any]:
    return {"ok": ok, "message": message, **more}


def _unknown(arguments: dict[str, Any]) -> dict[str, Any]:
    named = arguments["id"] if "id" in arguments else files.display_name(os.fsencode(arguments["path"]))
    return _answer(f"there is no document {named}", ok=False, unknown=True)


def _count(number: int) -> str:
    return "1 document" if number == 1 else f"{number} documents"
