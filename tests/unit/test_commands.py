from __future__ import annotations

import ast
import os
import selectors
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Timer

import pytest

import ocrd
from ocrd.host.commands import (
    STDERR_TAIL,
    Child,
    ChildDied,
    ChildStopped,
    ChildTimeout,
    CommandMissing,
    CommandTimeout,
    Result,
    describe_exit,
    run,
    run_alone,
)

PROGRAM = str(Path(__file__).parents[1] / "fakes" / "child.py")
PATIENCE_S = 20.0


@pytest.fixture
def child() -> Iterator[Child]:
    one = Child([sys.executable, PROGRAM])
    yield one
    one.close()


def is_gone(pid: int) -> bool:
    """Whether a process ended; one that waits to be collected has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(") ")[2][0] in "ZX"


# --- run ---------------------------------------------------------------------------------------------------


def test_a_program_gives_its_code_and_what_it_printed() -> None:
    result = run(["sh", "-c", "cat; echo err >&2; exit 3"], timeout_s=PATIENCE_S, stdin="in")
    assert (result.code, result.out, result.err) == (3, "in", "err\n")


def test_a_program_reads_nothing_of_ours() -> None:
    assert run(["cat"], timeout_s=PATIENCE_S).out == ""


def test_output_that_is_no_utf8_does_not_matter() -> None:
    assert run(["printf", "\\377"], timeout_s=PATIENCE_S).out == "\ufffd"


def test_variables_are_added_to_the_environment() -> None:
    result = run(["sh", "-c", "echo $GREETING; echo $PATH"], timeout_s=PATIENCE_S, env={"GREETING": "hi"})
    assert result.out == f"hi\n{os.environ['PATH']}\n"


def test_a_program_that_is_not_installed_is_told_by_name() -> None:
    with pytest.raises(CommandMissing, match="no-such-program"):
        run(["no-such-program"], timeout_s=PATIENCE_S)


def test_a_program_that_takes_too_long_is_killed() -> None:
    with pytest.raises(CommandTimeout, match="sleep did not end within"):
        run(["sleep", "600"], timeout_s=0.05)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "signal SIGKILL"),
        (-99, "signal 99"),
        (None, "unknown exit"),
    ],
)
def test_an_exit_is_told_in_words(code: int | None, words: str) -> None:
    assert describe_exit(code) == words


# --- Child -------------------------------------------------------------------------------------------------


def test_a_child_answers_one_question_after_the_other(child: Child) -> None:
    for number in range(3):
        question = {"do": "echo", "number": number, "text": "ё\n"}
        assert child.ask(question, timeout_s=PATIENCE_S) == question


def test_an_answer_may_come_in_pieces(child: Child) -> None:
    assert child.ask({"do": "in pieces"}, timeout_s=PATIENCE_S) == {"a": 1}


def test_an_answer_may_be_larger_than_a_pipe(child: Child) -> None:
    text = "x" * 300_000
    assert child.ask({"do": "say", "line": f'{{"text": "{text}"}}'}, timeout_s=PATIENCE_S)["text"] == text


def test_a_child_that_ends_is_told_with_its_code_and_its_last_words(child: Child) -> None:
    with pytest.raises(ChildDied, match="exit code 1: I am done for") as caught:
        child.ask({"do": "die"}, timeout_s=PATIENCE_S)
    assert caught.value.returncode == 1


def test_a_child_that_was_killed_is_told_with_its_signal(child: Child) -> None:
    with pytest.raises(ChildDied, match="signal SIGKILL: no message"):
        child.ask({"do": "crash"}, timeout_s=PATIENCE_S)


def test_a_child_that_is_gone_stays_gone(child: Child) -> None:
    with pytest.raises(ChildDied):
        child.ask({"do": "die"}, timeout_s=PATIENCE_S)
    with pytest.raises(ChildDied, match="exit code 1"):
        child.ask({"do": "echo"}, timeout_s=PATIENCE_S)


def test_a_program_that_does_not_read_has_died() -> None:
    child = Child(["false"])
    with pytest.raises(ChildDied, match="exit code 1"):
        child.ask({"do": "echo"}, timeout_s=PATIENCE_S)


def test_a_child_that_does_not_answer_in_time_is_killed(child: Child) -> None:
    with pytest.raises(ChildTimeout):
        child.ask({"do": "sleep"}, timeout_s=0.2)
    assert is_gone(child.pid)


def test_a_stop_ends_the_waiting_and_the_child(child: Child) -> None:
    stop = Event()
    timer = Timer(0.1, stop.set)
    timer.start()
    with pytest.raises(ChildStopped):
        child.ask({"do": "sleep"}, timeout_s=PATIENCE_S, stop=stop)
    timer.join()
    assert is_gone(child.pid)


@pytest.mark.timeout(60)
def test_a_flood_of_messages_does_not_block_the_answer(child: Child) -> None:
    assert child.ask({"do": "flood", "bytes": 5_000_000}, timeout_s=PATIENCE_S) == {}
    with pytest.raises(ChildDied) as caught:
        child.ask({"do": "crash"}, timeout_s=PATIENCE_S)
    assert caught.value.stderr.endswith("the end")
    assert len(caught.value.stderr) <= STDERR_TAIL


@pytest.mark.parametrize("line", ["Segmentation fault", "", "null", "[1]", '"text"', "{"])
def test_an_answer_that_is_no_object_ends_the_child(child: Child, line: str) -> None:
    with pytest.raises(ChildDied, match="answered no JSON object"):
        child.ask({"do": "say", "line": line}, timeout_s=PATIENCE_S)
    assert is_gone(child.pid)


def test_a_child_without_messages_still_answers(child: Child) -> None:
    assert child.ask({"do": "close stderr"}, timeout_s=PATIENCE_S) == {}
    assert child.ask({"do": "say", "line": "{}"}, timeout_s=PATIENCE_S) == {}


def test_killing_a_child_ends_what_it_started(child: Child) -> None:
    grandchild = child.ask({"do": "leave a grandchild"}, timeout_s=PATIENCE_S)["pid"]
    assert not is_gone(grandchild)
    child.kill()
    assert is_gone(child.pid)
    assert ends(grandchild)


def ends(pid: int) -> bool:
    """Wait for a process that is none of our children."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(fd), selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(PATIENCE_S))


def test_a_child_is_out_of_reach_of_the_terminal(child: Child) -> None:
    child.ask({"do": "say", "line": "{}"}, timeout_s=PATIENCE_S)
    assert os.getsid(child.pid) == child.pid


def test_closing_lets_the_child_end_by_itself(child: Child) -> None:
    child.ask({"do": "say", "line": "{}"}, timeout_s=PATIENCE_S)
    child.close(grace_s=PATIENCE_S)
    assert is_gone(child.pid)
    child.close()
    child.kill()


def test_a_child_that_does_not_end_when_closed_is_killed() -> None:
    child = Child(["sleep", "600"])
    child.close(grace_s=0.01)
    assert is_gone(child.pid)


def test_no_shell_is_ever_started() -> None:
    """Programs get lists of arguments, in one module; a file's name is never part of a command line."""
    for path in Path(ocrd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.keyword) and node.arg == "shell":
                assert not isinstance(node.value, ast.Constant), where
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("os", "system"), ("os", "popen")}, where


# --- run_alone: programs of somebody else's -----------------------------------------------------------------


def run_hook(script: str, *, timeout_s: float = PATIENCE_S) -> Result:
    return run_alone(["sh", "-c", script], timeout_s=timeout_s, stdin="told\n", stop=Event())


def test_a_program_that_is_not_ours_hears_its_input_and_the_end_of_its_complaint_is_kept() -> None:
    done = run_hook('read word; echo "heard $word" >&2; exit 3')
    assert done == Result(3, "", "heard told\n")


def test_a_program_that_complains_without_end_costs_no_memory_and_its_last_words_are_kept() -> None:
    held = "test $(stat -Lc %s /proc/self/fd/2) -lt 1000000"
    done = run_hook(f"head -c 200M /dev/zero >&2; {held} && echo last words >&2")
    assert done.code == 0, "what it said is held nowhere"
    assert done.err.endswith("last words\n")
    assert len(done.err) <= STDERR_TAIL


@pytest.mark.parametrize("left", ["sleep 30 &", "exec 2>&-; sleep 0.2"])
def test_what_a_program_leaves_running_or_closes_keeps_nobody_waiting_and_nothing_open(left: str) -> None:
    before, began = set(os.listdir("/proc/self/fd")), time.monotonic()
    assert run_hook(left).code == 0
    assert time.monotonic() - began < PATIENCE_S / 2
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_program_that_shouts_is_ended_at_its_deadline_all_the_same() -> None:
    with pytest.raises(CommandTimeout, match="did not end within 1 s"):
        run_hook("yes >&2", timeout_s=1)
