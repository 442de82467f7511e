"""Is ocrd ever worse than plain Tesseract? Character errors and words found on the same pages, set by set.

Runs `ocrd run --once`, and the bare engine (rus+eng, automatic layout, PDF pages at 200 DPI), over a copy of the
documents that have a true text. Ends with 1 if ocrd is worse in any set.
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import processes
import scoring
from scoring import Score
from workloads import SAMPLES

TOLERANCE = 0.005
"""Below this a difference between two texts is noise."""
CASELESS_SETS = {"sroie"}
"""Sets whose truth is written in capitals."""
TRUTH = ".gt.txt"
COUNTERPARTS = ("pdf", "png", "jpg", "jpeg", "tif", "tiff", "webp")
ENDED = (0, 1)
"""`run --once` says 1 if a document is not done: that is judged by its text."""


@dataclass(frozen=True)
class Case:
    """A document with its true text."""

    group: str
    path: str
    truth: str

    @property
    def name(self) -> str:
        """Below the inbox."""
        return os.path.join(self.group, os.path.basename(self.path))


@dataclass(frozen=True)
class Result:
    """What both made of a document."""

    case: Case
    ours: Score
    bare: Score

    @property
    def is_worse(self) -> bool:
        return self.ours.cer > self.bare.cer + TOLERANCE


@dataclass(frozen=True)
class Group:
    """What both made of a set."""

    name: str
    results: Sequence[Result]

    def mean_cer(self, side: str) -> float:
        return statistics.fmean(getattr(result, side).cer for result in self.results)

    def median_cer(self, side: str) -> float:
        return statistics.median(getattr(result, side).cer for result in self.results)

    def recall(self, side: str) -> float:
        return statistics.fmean(getattr(result, side).recall for result in self.results)

    def catastrophic(self, side: str) -> int:
        return sum(getattr(result, side).catastrophic for result in self.results)

    def losses(self) -> list[str]:
        """In what ocrd is worse here."""
        found = []
        for what, by in (
            ("mean CER", self.mean_cer("ours") - self.mean_cer("bare")),
            ("median CER", self.median_cer("ours") - self.median_cer("bare")),
            ("words found", self.recall("bare") - self.recall("ours")),
        ):
            if by > TOLERANCE:
                found.append(f"{what} by {by:.4f}")
        if self.catastrophic("ours") > self.catastrophic("bare"):
            found.append("documents not read at all")
        return found


def corpus_cases(corpus: str) -> list[Case]:
    """The documents of quality/SET/NAME.EXT that have a NAME.gt.txt."""
    cases = []
    for truth in sorted(glob.glob(os.path.join(corpus, "quality", "*", "*" + TRUTH))):
        stem = truth.removesuffix(TRUTH)
        path = next(
            (f"{stem}.{ending}" for ending in COUNTERPARTS if os.path.exists(f"{stem}.{ending}")), None
        )
        if path is not None:
            cases.append(Case(os.path.basename(os.path.dirname(truth)), path, _read(truth)))
    return cases


def sample_cases() -> list[Case]:
    """The project's own samples."""
    cases = []
    expected = os.path.join(SAMPLES, "expected")
    for truth in sorted(glob.glob(os.path.join(expected, "**", "*.txt"), recursive=True)):
        name = os.path.relpath(truth, expected).removesuffix(".txt")
        cases.append(Case("samples", os.path.join(SAMPLES, "documents", name), _read(truth)))
    return cases


def cases_of(corpus: str | None) -> list[Case]:
    """Of the corpus if it has a folder `quality`, else the samples."""
    if corpus and os.path.isdir(os.path.join(corpus, "quality")):
        return corpus_cases(corpus)
    return sample_cases()


def compare(cases: Sequence[Case], folder: str) -> list[Group]:
    """Have both read all documents; `folder` takes inbox, store and texts."""
    inbox, out = os.path.join(folder, "inbox"), os.path.join(folder, "bare")
    processes.fill(inbox, ((case.path, case.name) for case in cases))
    shutil.copytree(inbox, os.path.join(folder, "source"))
    environment = processes.private_environment(folder, {"OCRD_OUTPUT__FORMATS": "txt"})
    _run(
        processes.ocrd_command("run", "--once", "--inbox", inbox, "--state", os.path.join(folder, "state")),
        environment,
        folder,
    )
    script = os.path.join(processes.REPOSITORY, "benchmarks", "bare_engine.py")
    _run([sys.executable, script, "--out", out, os.path.join(folder, "source")], environment, folder)
    groups: dict[str, list[Result]] = defaultdict(list)
    for case in cases:
        caseless = case.group in CASELESS_SETS
        ours, bare = (
            scoring.score(_read(os.path.join(where, case.name + ".txt")), case.truth, fold_case=caseless)
            for where in (inbox, out)
        )
        groups[case.group].append(Result(case, ours, bare))
    return [Group(name, results) for name, results in groups.items()]


def _run(command: list[str], environment: dict[str, str], folder: str) -> None:
    log = os.path.join(folder, "log")
    measured = processes.measure(command, environment, log=log)
    if measured.code not in ENDED:
        raise RuntimeError(f"{command} ended with {measured.code}: {_read(log)[-2000:]}")


def _read(path: str) -> str:
    """A text file; a missing one is empty: nothing was read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def report(groups: Sequence[Group]) -> list[str]:
    """Print the tables; the losses."""
    rows, losses = [], []
    for group in groups:
        rows.append((
            group.name,
            len(group.results),
            *(f"{group.median_cer(side):.4f}" for side in ("ours", "bare")),
            *(f"{group.mean_cer(side):.4f}" for side in ("ours", "bare")),
            *(f"{group.recall(side):.4f}" for side in ("ours", "bare")),
            *(group.catastrophic(side) for side in ("ours", "bare")),
        ))  # fmt: skip
        losses += [f"{group.name}: worse in {loss}" for loss in group.losses()]
    head = ("set", "n", "median CER", "bare", "mean CER", "bare", "words", "bare", "CER > 0.5", "bare")
    processes.print_table(head, rows)
    results = [result for group in groups for result in group.results]
    worse = [result for result in results if result.is_worse]
    better = sum(result.bare.cer > result.ours.cer + TOLERANCE for result in results)
    print(
        f"\nof {len(results)} documents ocrd is worse by more than {TOLERANCE} on {len(worse)}, better on {better}"
    )
    for result in worse:
        print(
            f"  {result.case.name}: CER {result.ours.cer:.4f}, bare {result.bare.cer:.4f}; "
            f"words {result.ours.recall:.4f}, bare {result.bare.recall:.4f}"
        )
    return losses


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus",
        metavar="DIR",
        default=os.environ.get("OCRD_TEST_CORPUS"),
        help="a folder with quality/SET/NAME.EXT and NAME.gt.txt (default: $OCRD_TEST_CORPUS, else samples/)",
    )
    parser.add_argument("--keep", metavar="DIR", help="leave the texts of both here: inbox/ and bare/")
    options = parser.parse_args()
    cases = cases_of(options.corpus)
    if options.keep:
        os.makedirs(options.keep)
        losses = report(compare(cases, options.keep))
    else:
        with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
            losses = report(compare(cases, folder))
    for loss in losses:
        print(f"LOSS: {loss}")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
