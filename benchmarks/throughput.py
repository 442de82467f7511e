"""Pages a second of ocrd, of the bare engine and of OCRmyPDF: same pages, same cores, in turns.

Every contestant is timed as a whole process, from its start to its end, with fresh folders. The ratios are taken
within a round, where all of them met the same machine; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import processes
import scoring
import workloads
from processes import Measured, median

GOALS = (
    ("ocrd txt", "bare", 0.95),
    ("ocrd txt+md", "bare", 0.95),
    ("ocrd txt", "ocrmypdf", 1.6),
    ("ocrd txt+md", "ocrmypdf", 1.6),
    ("ocrd txt+pdf", "ocrmypdf pdf", 1.3),
)
"""What the speed of the first must be at least, divided by that of the second."""


@dataclass(frozen=True)
class Turn:
    """One run of one contestant on one workload."""

    measured: Measured
    pages_per_s: float
    cer: float
    recall: float


class Arena:
    """The folders of one workload, and the command of each contestant."""

    def __init__(self, folder: str, workload: workloads.Workload, ocrmypdf: str) -> None:
        self._folder = folder
        self._workload = workload
        self._ocrmypdf = ocrmypdf
        self._source = os.path.join(folder, "source")
        self._inbox = os.path.join(folder, "inbox")
        self._out = os.path.join(folder, "out")
        workload.write(self._source)

    def contestants(self) -> dict[str, Callable[[], Turn]]:
        """By name, in the order of a round."""
        found: dict[str, Callable[[], Turn]] = {
            "ocrd txt": lambda: self._run_ocrd("txt"),
            "bare": lambda: self._run_other(self._bare_command()),
            "ocrd txt+md": lambda: self._run_ocrd("txt,md"),
        }
        if self._ocrmypdf:
            found["ocrmypdf"] = lambda: self._run_other(self._ocrmypdf_command())
            found["ocrd txt+pdf"] = lambda: self._run_ocrd("txt,pdf")
            found["ocrmypdf pdf"] = lambda: self._run_other(self._ocrmypdf_command(searchable=True))
        return found

    def _run_ocrd(self, formats: str) -> Turn:
        state = os.path.join(self._folder, "state")
        shutil.rmtree(state, ignore_errors=True)
        self._fill()
        # Pages are to be read: text that they bring along would make ocrd look faster than its engine is.
        settings = {"OCRD_OUTPUT__FORMATS": formats, "OCRD_ENGINE__TEXT_LAYER": "off"}
        environment = processes.private_environment(self._folder, settings)
        command = processes.ocrd_command("run", "--once", "--inbox", self._inbox, "--state", state)
        return self._timed(command, environment, self._inbox)

    def _run_other(self, command: list[str]) -> Turn:
        shutil.rmtree(self._out, ignore_errors=True)
        os.makedirs(self._out)
        self._fill()
        return self._timed(command, processes.private_environment(self._folder), self._out)

    def _fill(self) -> None:
        files = [(os.path.join(self._source, name), name) for name in self._workload.files]
        processes.fill(self._inbox, files)

    def _bare_command(self) -> list[str]:
        script = os.path.join(processes.REPOSITORY, "benchmarks", "bare_engine.py")
        return [sys.executable, script, "--out", self._out, self._inbox]

    def _ocrmypdf_command(self, *, searchable: bool = False) -> list[str]:
        """Text only unless it is to write a searchable PDF too, the fastest way it has: all cores on one PDF, a process a
        core on images."""
        cores = len(os.sched_getaffinity(0))
        jobs, at_once = (cores, 1) if len(self._workload.files) == 1 else (1, cores)
        out = f'{shlex.quote(self._out)}/"$1"'
        kind, target = ("pdf", f"{out}.pdf") if searchable else ("none", "-")
        one = (
            f"{shlex.quote(self._ocrmypdf)} -q -j {jobs} -l rus+eng --output-type {kind} --optimize 0 "
            f'--image-dpi {workloads.DPI} --sidecar {out}.txt "$1" {target}'
        )
        loop = f"ls | xargs -P {at_once} -I FILE sh -c {shlex.quote(one)} sh FILE"
        return ["sh", "-c", f"cd {shlex.quote(self._inbox)} && {loop}"]

    def _timed(self, command: list[str], environment: dict[str, str], out: str) -> Turn:
        log = os.path.join(self._folder, "log")
        open(log, "w").close()
        measured = processes.measure(
            command, environment, has_first=lambda: processes.any_file(out, ".txt"), log=log
        )
        if measured.code:
            with open(log, errors="replace") as file:
                sys.exit(f"{shlex.join(command)} ended with {measured.code}:\n{file.read()[-3000:]}")
        scores = []
        for name, truth in self._workload.truth.items():
            with open(os.path.join(out, name + ".txt"), encoding="utf-8") as file:
                scores.append(scoring.score(file.read(), truth))
        return Turn(
            measured,
            self._workload.pages / measured.seconds,
            sum(score.cer for score in scores) / len(scores),
            sum(score.recall for score in scores) / len(scores),
        )


def compare(name: str, rounds: int, ocrmypdf: str, folder: str) -> dict[str, list[Turn]]:
    """All contestants in turns, so often; their turns by name."""
    workload = workloads.make(name)
    megabytes = sum(map(len, workload.files.values())) / 1e6
    print(f"\n{name}: {len(workload.files)} files, {workload.pages} pages, {megabytes:.1f} MB", flush=True)
    contestants = Arena(os.path.join(folder, name), workload, ocrmypdf).contestants()
    turns: dict[str, list[Turn]] = {one: [] for one in contestants}
    in_turn = list(contestants.items())
    for number in range(rounds):
        for one, run in in_turn:
            turns[one].append(run())
            print(f"  round {number + 1}: {one:12} {turns[one][-1].pages_per_s:6.3f} pages/s", flush=True)
        in_turn.reverse()  # who was first in one round is last in the next
    return turns


def report(turns: dict[str, list[Turn]]) -> list[str]:
    """Print the tables of a workload; what missed its goal."""
    rows = []
    for name, runs in turns.items():
        firsts = [run.measured.first_s for run in runs if run.measured.first_s is not None]
        rows.append((
            name,
            f"{median(run.pages_per_s for run in runs):.3f}",
            f"{median(run.measured.seconds for run in runs):.2f}",
            f"{median(run.measured.cpu_s for run in runs):.1f}",
            f"{median(firsts):.1f}",
            f"{median(run.measured.peak_mib for run in runs):.0f}",
            f"{median(run.cer for run in runs):.4f}",
            f"{median(run.recall for run in runs):.4f}",
        ))  # fmt: skip
    head = ("contestant", "pages/s", "seconds", "CPU s", "first text s", "peak MiB", "CER", "words")
    processes.print_table(head, rows)
    missed = []
    rows = []
    for ours, theirs, goal in GOALS:
        if theirs not in turns:
            continue
        pairs = zip(turns[ours], turns[theirs], strict=True)
        ratios = [one.pages_per_s / other.pages_per_s for one, other in pairs]
        verdict = "met" if median(ratios) >= goal else "MISSED"
        listed = " ".join(f"{ratio:.3f}" for ratio in ratios)
        rows.append((f"{ours} / {theirs}", f"{median(ratios):.3f}", f"≥ {goal}", verdict, listed))
        if verdict == "MISSED":
            missed.append(f"{ours} / {theirs}: {median(ratios):.3f}")
    print()
    processes.print_table(("ratio", "median", "goal", "", "rounds"), rows)
    return missed


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument(
        "--workloads",
        default="scan20,scan40,images100",
        help="scanN: a PDF of N scanned pages; imagesN: N single pages (default: scan20,scan40,images100)",
    )
    parser.add_argument(
        "--ocrmypdf",
        type=processes.program,
        default=shutil.which("ocrmypdf") or "",
        metavar="PATH",
        help="default: from PATH; '': without",
    )
    options = parser.parse_args()
    if not options.ocrmypdf:
        print("OCRmyPDF is left out: pip install -e '.[bench]', or --ocrmypdf PATH", file=sys.stderr)
    missed = []
    with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
        for name in options.workloads.split(","):
            turns = compare(name, options.rounds, options.ocrmypdf, folder)
            missed += [f"{name}: {what}" for what in report(turns)]
    for what in missed:
        print(f"goal missed: {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
