"""What faults and bad input do: lost 0, doubled 0, hung 0.

First a run over a mixed inbox is killed (SIGKILL) at each of its fault points, each time on a fresh copy, and started
again; what there is then is compared with an undisturbed run. Then bad input of every class, mutants of good documents
and the files of a corpus go through one daemon while good files keep coming. Ends with 1 if anything was lost, doubled,
hung or left, an original changed, the daemon grew beyond its limit, or a good file takes longer afterwards.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import processes
import robustness

sys.path.append(os.path.join(processes.REPOSITORY, "tests"))
from support import crashes

TIMES = (1, 3)
PARTS = ("kills", "inputs")


@dataclass(frozen=True)
class Struck:
    """What came of the runs that were killed at a fault point."""

    point: str
    killed: int
    harm: tuple[crashes.Harm, ...]

    @property
    def right(self) -> int:
        """After how many of them the next run made everything right."""
        return sum(one == crashes.Harm() for one in self.harm)

    def row(self) -> tuple[object, ...]:
        """For the table."""
        counts = ((one.doubled, len(one.lost), len(one.changed), len(one.temporary)) for one in self.harm)
        return self.point, self.killed, self.right, *map(sum, zip(*counts, strict=True))


def strike(calm: crashes.Ocrd, folder: Path, point: str, nths: Sequence[int]) -> Struck:
    """Kill a run there, at each of these times that it comes by, and start it again."""
    killed, found = 0, []
    for nth in nths:
        place = folder / f"{point}-{nth}"
        place.mkdir()
        struck = crashes.copy_unread(calm, place)
        before = crashes.originals(struck.inbox)
        kills = 1 + (point in crashes.RECOVERY_POINTS)
        if kills > 1:
            crashes.strike(struck, crashes.BEFORE_RECOVERY)
        killed += crashes.strike(struck, f"{point}:kill:{nth}")
        struck.run_once()
        found.append(crashes.harm(struck, calm, before, kills=kills))
    return Struck(point, killed, tuple(found))


def kill_everywhere(nths: Sequence[int]) -> list[str]:
    """Print the first table; what went wrong."""
    rows, problems = [], []
    with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as name:
        folder = Path(name)
        (folder / "calm").mkdir()
        calm = crashes.calm_run(folder / "calm")
        for point in (*crashes.POINTS, *crashes.RECOVERY_POINTS):
            once = point in crashes.RECOVERY_POINTS
            struck = strike(calm, folder, point, nths[:1] if once else nths)
            rows.append(struck.row())
            if not struck.killed:
                problems.append(f"{point}: no run came by")
            problems += [f"{point}: {one}" for one in struck.harm if one != crashes.Harm()]
    processes.print_table(
        ("killed at", "times", "right after restart", "doubled", "lost", "changed", "temporary files"), rows
    )
    kills, right = (sum(row[column] for row in rows) for column in (1, 2))
    print(f"\n{len(rows)} fault points, {kills} kills, {right} runs right after the restart\n")
    return problems


def report(outcome: robustness.Outcome, *, verbose: bool) -> None:
    """Print the second table."""
    if verbose:
        for job in sorted(outcome.jobs, key=lambda one: (one["state"], one["reason_code"], one["file"])):
            told = f"[{job['reason_code']}] {job['reason']}" if job["reason_code"] else ""
            print(
                f"{job['state']:9} {job['pages_done']:>4}/{job['pages']:<4} {ascii(job['file'])[1:-1]}  {told}"
            )
        print()
    counted = Counter((job["state"], job["reason_code"]) for job in outcome.jobs)
    ends = [(*key, number) for key, number in sorted(counted.items())]
    processes.print_table(("state", "reason_code", "documents"), ends)
    slowest = max(outcome.jobs, key=robustness.wall_s, default=None)
    tried = ", ".join(f"{number} {kind}" for kind, number in outcome.tried.items())
    before, among, after = (
        statistics.median(taken) if taken else float("nan")
        for taken in (outcome.good_before_s, outcome.good_among_s, outcome.good_after_s)
    )
    figures = [
        ("inputs tried", tried),
        ("good files among them", len(outcome.good_among_s)),
        ("seconds", f"{outcome.seconds:.0f}"),
        ("lost", len(outcome.lost)),
        ("doubled", len(outcome.doubled)),
        ("hung", len(outcome.hung)),
        ("passed over", ", ".join(map(ascii, outcome.passed_over)) or "none"),
        ("slowest document", f"{robustness.wall_s(slowest):.0f} s, {slowest['file']!a}" if slowest else "-"),
        ("peak RSS of the daemon", f"{outcome.daemon_peak_mib:.0f} MiB (limit {robustness.DAEMON_MIB})"),
        ("with its children", f"{outcome.tree_peak_mib:.0f} MiB"),
        ("a good file before / among / after", f"{before:.2f} / {among:.1f} / {after:.2f} s"),
        ("after / before", f"{outcome.good_ratio:.2f} (limit {robustness.GOOD_RATIO:g})"),
    ]  # fmt: skip
    print()
    processes.print_table(("inputs", ""), figures)


def main() -> int:
    """Run both parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one (default: both)")
    parser.add_argument(
        "--times", default="1,3", metavar="N,N", help="kill at the Nth time that the place is come by (default: 1,3)"
    )  # fmt: skip
    parser.add_argument("--mutants", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument(
        "--corpus",
        metavar="DIR",
        default=os.environ.get("OCRD_TEST_CORPUS"),
        help="a folder with robustness/ (default: $OCRD_TEST_CORPUS, else none)",
    )
    parser.add_argument(
        "--deadline", type=float, default=robustness.DEADLINE_S, metavar="S", help="of the inputs"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="every input with its state and reason")
    parser.add_argument("--log", metavar="FILE", help="keep the daemon's log of the second part there")
    options = parser.parse_args()
    parts = options.part or PARTS
    problems: list[str] = []
    if "kills" in parts:
        problems += kill_everywhere([int(nth) for nth in options.times.split(",")])
    if "inputs" in parts:
        corpus = robustness.corpus_documents(options.corpus) if options.corpus else []
        with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
            outcome = robustness.run(
                folder,
                corpus=corpus,
                number_of_mutants=options.mutants,
                generated=True,
                deadline_s=options.deadline,
            )
        if options.log:
            Path(options.log).write_text(outcome.log, encoding="utf-8")
        report(outcome, verbose=options.verbose)
        problems += outcome.problems
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
