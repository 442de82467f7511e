"""Is ocrd ever worse than plain Tesseract, or than OCRmyPDF? Errors and words found on the same pages, class by class.

Runs `ocrd run --once`, the bare engine (rus+eng, automatic layout, PDF pages at 200 DPI) and OCRmyPDF (with
--rotate-pages --deskew --skip-text) over copies of the documents that have a true text. Ends with 1 if ocrd is worse in any
class than one of the others, or in any set of documents than the bare engine.
"""

from __future__ import annotations

import argparse
import csv
import glob
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
OURS, BARE, OCRMYPDF = "ocrd", "bare", "ocrmypdf"
SKIPPED = re.compile(r"\[OCR skipped on page\(s\) (\d+)(?:-(\d+))?\]")
"""In the place of pages whose text OCRmyPDF left as it was."""
CLASSES = {
    "receipt": "receipts",
    "multi-column": "several columns",
    "table": "tables, forms, invoices",
    "form": "tables, forms, invoices",
    "invoice": "tables, forms, invoices",
    "fax": "scans, faxes, photos",
    "scan": "scans, faxes, photos",
    "scanned-pdf": "scans, faxes, photos",
    "rotated": "rotated or askew",
    "skew": "rotated or askew",
}
"""By the column `kind` of the corpus's MANIFEST.tsv."""
TURNED = re.compile(r"rot(ated|\d|[LR]\b)|skew|orient")
"""Names of documents that lie on their side, upside down or askew, whatever else they are."""
NAMED = {
    "noisy": re.compile(r"noisy|_q30|_photo\b|fax|bleed|_75dpi"),
    "light on dark": re.compile(r"white_on_dark"),
}
"""Further classes, by the names of their documents: bad copies and photos, and pages that were turned to their negative."""
SAMPLE_KINDS = {
    "two_columns_en.png": "multi-column",
    "invoice_ru.png": "invoice",
    "noisy_scan_ru.jpg": "skew",
    "папка/счёт за март.png": "receipt",
    "letter_en.jpg": "scan",
}


@dataclass(frozen=True)
class Case:
    """A document with its true text, and what is known of it."""

    group: str
    path: str
    truth: str
    kind: str
    is_cyrillic: bool
    is_born_digital: bool
    is_ordered: bool
    """Whether the order of the truth is that of a reader. Where it is that of a PDF's objects, only words count."""

    @property
    def name(self) -> str:
        """Below the inbox."""
        return os.path.join(self.group, os.path.basename(self.path))

    @property
    def classes(self) -> list[str]:
        """All that it belongs to."""
        found = ["all", "Cyrillic" if self.is_cyrillic else "Latin"]
        found += [CLASSES[self.kind]] if self.kind in CLASSES else []
        if TURNED.search(self.name) and CLASSES["skew"] not in found:
            found.append(CLASSES["skew"])
        found += [name for name, pattern in NAMED.items() if pattern.search(self.name)]
        return [*found, "born digital"] if self.is_born_digital else found


@dataclass(frozen=True)
class Result:
    """What each contestant made of a document."""

    case: Case
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class Figures:
    """One contestant in one class or set. Errors are those of documents whose order is known, None without any."""

    median_cer: float | None
    mean_cer: float | None
    lost: float
    """Share of the documents that were not read at all."""
    words: float

    def losses_to(self, other: Figures) -> list[str]:
        """In what the other one is better."""
        pairs = (
            ("median CER", self.median_cer, other.median_cer, TOLERANCE),
            ("mean CER", self.mean_cer, other.mean_cer, TOLERANCE),
            ("words not found", 1 - self.words, 1 - other.words, TOLERANCE),
            ("documents not read", self.lost, other.lost, 0.0),
        )
        return [
            f"{what} {mine:.4f} to {theirs:.4f}"
            for what, mine, theirs, tolerance in pairs
            if mine is not None and theirs is not None and mine > theirs + tolerance
        ]


def figures(results: Iterable[Result], contestant: str, *, in_any_order: bool = False) -> Figures:
    """Of some documents, at least one. `in_any_order` counts the errors of all, also where the order says little."""
    judged = [(result.scores[contestant], result.case.is_ordered or in_any_order) for result in results]
    errors = [score.cer for score, is_ordered in judged if is_ordered]
    return Figures(
        median_cer=statistics.median(errors) if errors else None,
        mean_cer=statistics.fmean(errors) if errors else None,
        lost=statistics.fmean(_is_lost(score, is_ordered=is_ordered) for score, is_ordered in judged),
        words=statistics.fmean(score.recall for score, _ in judged),
    )


def _is_lost(score: Score, *, is_ordered: bool) -> bool:
    """Whether a document was not read at all."""
    return score.catastrophic if is_ordered else score.recall < 1 - scoring.CATASTROPHIC_CER


def by_class(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The largest class first; a document may be in several."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        for name in result.case.classes:
            groups[name].append(result)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def losses(results: Sequence[Result]) -> list[str]:
    """In what ocrd is worse than one of the others in a class, or than the bare engine in a set of the corpus, where no
    document counts less than another."""
    found = []
    for name, group in by_class(results).items():
        ours = figures(group, OURS)
        for who in others(results):
            found += [f"{name}: worse than {who} in {loss}" for loss in ours.losses_to(figures(group, who))]
    sets: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        sets[result.case.group].append(result)
    for name, group in sets.items():
        ours, bare = (figures(group, who, in_any_order=True) for who in (OURS, BARE))
        found += [f"set {name}: worse than {BARE} in {loss}" for loss in ours.losses_to(bare)]
    return found


def others(results: Sequence[Result]) -> list[str]:
    """Whom ocrd is held against."""
    return [who for who in results[0].scores if who != OURS]


# --- documents ----------------------------------------------------------------------------------------------


def corpus_cases(corpus: str) -> list[Case]:
    """The documents of quality/SET/NAME.EXT that have a NAME.gt.txt."""
    with open(os.path.join(corpus, "MANIFEST.tsv"), encoding="utf-8", newline="") as file:
        known = {
            row["path"]: row for row in csv.DictReader(file, dialect="excel-tab", quoting=csv.QUOTE_NONE)
        }
    cases = []
    for truth in sorted(glob.glob(os.path.join(corpus, "quality", "*", "*" + TRUTH))):
        stem = truth.removesuffix(TRUTH)
        path = next(
            (f"{stem}.{ending}" for ending in COUNTERPARTS if os.path.exists(f"{stem}.{ending}")), None
        )
        if path is None:
            continue
        row = known.get(os.path.relpath(path, corpus), {"kind": "", "language/script": "", "note": ""})
        by_objects = "embedded text layer" in row["note"]
        case = Case(
            group=os.path.basename(os.path.dirname(truth)),
            path=path,
            truth=_read(truth),
            kind=row["kind"],
            is_cyrillic="Cyrl" in row["language/script"],
            is_born_digital=by_objects and path.endswith(".pdf"),
            is_ordered=not (by_objects and row["kind"] in {"invoice", "table", "form"}),
        )
        cases.append(case)
    return cases


def sample_cases() -> list[Case]:
    """The project's own samples."""
    cases = []
    expected = os.path.join(SAMPLES, "expected")
    for truth in sorted(glob.glob(os.path.join(expected, "**", "*.txt"), recursive=True)):
        name = os.path.relpath(truth, expected).removesuffix(".txt")
        case = Case(
            group="samples",
            path=os.path.join(SAMPLES, "documents", name),
            truth=_read(truth),
            kind=SAMPLE_KINDS.get(name, ""),
            is_cyrillic="_en." not in name,
            is_born_digital=name.startswith("born"),
            is_ordered=SAMPLE_KINDS.get(name) not in {"invoice", "receipt"},
        )
        cases.append(case)
    return cases


def cases_of(corpus: str | None) -> list[Case]:
    """Of the corpus if it has a folder `quality`, else the samples."""
    if corpus and os.path.isdir(os.path.join(corpus, "quality")):
        return corpus_cases(corpus)
    return sample_cases()


# --- contestants --------------------------------------------------------------------------------------------


def compare(cases: Sequence[Case], folder: str, *, ocrmypdf: str, config: str) -> list[Result]:
    """Have each read all documents; `folder` takes inbox, store and texts."""
    source, inbox, bare = (os.path.join(folder, name) for name in ("source", "inbox", "bare"))
    processes.fill(inbox, ((case.path, case.name) for case in cases))
    shutil.copytree(inbox, source)
    environment = processes.private_environment(folder, {"OCRD_OUTPUT__FORMATS": "txt"})
    command = processes.ocrd_command(
        "run", "--once", "--inbox", inbox, "--state", os.path.join(folder, "state")
    )
    _run([*command, *(["--config", os.path.abspath(config)] if config else [])], environment, folder)
    script = os.path.join(processes.REPOSITORY, "benchmarks", "bare_engine.py")
    _run([sys.executable, script, "--out", bare, source], environment, folder)
    texts = {OURS: inbox, BARE: bare}
    if ocrmypdf:
        texts[OCRMYPDF] = os.path.join(folder, OCRMYPDF)
        for case in cases:
            _run_ocrmypdf(ocrmypdf, os.path.join(source, case.name), os.path.join(texts[OCRMYPDF], case.name))
    return [
        Result(
            case, {who: _score(case, os.path.join(where, case.name + ".txt")) for who, where in texts.items()}
        )
        for case in cases
    ]


def _score(case: Case, path: str) -> Score:
    return scoring.score(_read(path), case.truth, fold_case=case.group in CASELESS_SETS)


def _run(command: list[str], environment: dict[str, str], folder: str) -> None:
    log = os.path.join(folder, "log")
    measured = processes.measure(command, environment, log=log)
    if measured.code not in ENDED:
        raise RuntimeError(f"{shlex.join(command)} ended with {measured.code}: {_read(log)[-2000:]}")


def _run_ocrmypdf(program: str, source: str, target: str) -> None:
    """Text of pages that have one is left as it is, and taken by pdftotext. What it refuses has no text."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    made, sidecar = target + ".pdf", target + ".txt"
    options = ["-q", "-l", "rus+eng", "--rotate-pages", "--deskew", "--skip-text", "--output-type", "pdf"]
    command = [program, *options, "--optimize", "0", "--image-dpi", "200", "--sidecar", sidecar, source, made]
    environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"OCRmyPDF, {source}: {done.stderr.strip()[-200:]}", file=sys.stderr)
        return
    with open(sidecar, encoding="utf-8") as file:
        text = SKIPPED.sub(lambda found: _left_as_it_was(made, found[1], found[2] or found[1]), file.read())
    with open(sidecar, "w", encoding="utf-8") as file:
        file.write(text)


def _left_as_it_was(path: str, first: str, last: str) -> str:
    command = ["pdftotext", "-f", first, "-l", last, path, "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "replace")


def _read(path: str) -> str:
    """A text file; a missing one is empty: nothing was read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


# --- the report ---------------------------------------------------------------------------------------------


def report(results: Sequence[Result]) -> None:
    """Print the tables."""
    rows = []
    for name, group in by_class(results).items():
        rows.append((name, len(group), OURS, *_shown(figures(group, OURS))))
        rows += [("", "", who, *_shown(figures(group, who))) for who in others(results)]
    processes.print_table(("class", "n", "engine", "median CER", "mean CER", "not read", "words"), rows)
    _print_documents(results)


def _shown(of: Figures) -> tuple[str, ...]:
    errors = ("" if error is None else f"{error:.4f}" for error in (of.median_cer, of.mean_cer))
    return (*errors, f"{of.lost:.1%}", f"{of.words:.4f}")


def _print_documents(results: Sequence[Result]) -> None:
    """Each document on which somebody was better."""
    print(
        f"\nof {len(results)} documents ocrd is worse than the best of the others by more than {TOLERANCE} on:"
    )
    for result in results:
        what = "cer" if result.case.is_ordered else "recall"
        wrong = {
            who: score.cer if what == "cer" else 1 - score.recall for who, score in result.scores.items()
        }
        if wrong[OURS] > min(wrong.values()) + TOLERANCE:
            name = "CER" if what == "cer" else "words not found"
            print(
                f"  {result.case.name}: {name} "
                + ", ".join(f"{who} {value:.4f}" for who, value in wrong.items())
            )


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus",
        metavar="DIR",
        default=os.environ.get("OCRD_TEST_CORPUS"),
        help="a folder with MANIFEST.tsv, quality/SET/NAME.EXT and NAME.gt.txt (default: $OCRD_TEST_CORPUS, else samples/)",
    )
    parser.add_argument("--keep", metavar="DIR", help="leave all texts here: inbox/, bare/ and ocrmypdf/")
    parser.add_argument(
        "--config", metavar="FILE", default="", help="settings of ocrd, for instance of a model server"
    )
    parser.add_argument(
        "--ocrmypdf",
        type=processes.program,
        metavar="PATH",
        default=shutil.which("ocrmypdf") or "",
        help="default: that on the PATH",
    )
    options = parser.parse_args()
    if not options.ocrmypdf:
        print("OCRmyPDF is left out: pip install -e '.[bench]', or --ocrmypdf PATH", file=sys.stderr)
    cases = cases_of(options.corpus)
    with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
        if options.keep:
            os.makedirs(options.keep)
        results = compare(cases, options.keep or folder, ocrmypdf=options.ocrmypdf, config=options.config)
    report(results)
    lost = losses(results)
    for loss in lost:
        print(f"LOSS: {loss}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
