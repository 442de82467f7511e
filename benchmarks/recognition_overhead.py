"""How much of a model server's capacity ocrd uses: pages a minute over what the server itself could do.

A fake server of the tests answers at a fixed rate (prompt and answer tokens a second, so many answers at once), so its
own maximum follows from what it was asked. A backlog of documents is worked off by `ocrd run --once`; the rate counts
from the second page to the last, start and end of the process left out. The rasterizer, and with `--witness` the
embedded engine, work on the same cores meanwhile.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import processes

sys.path.insert(0, os.path.join(processes.REPOSITORY, "tests"))

from support.fake_vllm import FakeVllm
from support.marked import write_pdf

GOAL = 0.97
SEATS = 4
"""Answers that the server generates at the same time."""
TOKENS_A_PAGE = 900
"""About what the fake's pages take as JSON; only to turn a wanted rate into tokens a second."""


def write_backlog(folder: Path, documents: int, most_pages: int, seed: int) -> int:
    """Documents of 1 to `most_pages` pages; how many pages in all."""
    folder.mkdir()
    dice = random.Random(seed)
    number = 0
    for index in range(documents):
        pages = dice.randint(1, most_pages)
        path = write_pdf(folder / f"scan-{index:03}.pdf", range(number, number + pages), dpi=150)
        os.utime(path, (1, 1))
        number += pages
    return number


def rate_of(state: Path) -> float:
    """Pages a minute from the second page to the last, by the store."""
    with closing(sqlite3.connect(state / "ocrd.db")) as store:
        times = [row[0] for row in store.execute("SELECT finished_at FROM pages ORDER BY finished_at")]
    return (len(times) - 2) / (times[-1] - times[1]) * 60


def measure(
    folder: Path, pages_per_min: float, documents: int, most_pages: int, witness: bool
) -> tuple[str, ...]:
    """One run; a row of the table."""
    pages = write_backlog(folder / "inbox", documents, most_pages, seed=7)
    per_s = pages_per_min / 60 * TOKENS_A_PAGE
    with FakeVllm(max_num_seqs=SEATS, decode_tps=per_s / SEATS, step_s=0.05) as fake:
        settings = {
            "OCRD_VLLM__BASE_URL": fake.base_url,
            "OCRD_VLLM__WITNESS": str(witness).lower(),
            "OCRD_ENGINE__TEXT_LAYER": "off",
        }
        command = processes.ocrd_command(
            "run",
            "--once",
            "--engine",
            "vllm",
            "--inbox",
            str(folder / "inbox"),
            "--state",
            str(folder / "state"),
        )
        log = str(folder / "log")
        environment = processes.private_environment(str(folder), settings)
        measured = processes.measure(command, environment, log=log)
        most = float(fake.stats()["capacity"]["pages_per_min"])
    if measured.code:
        sys.exit(f"ocrd ended with {measured.code}:\n{Path(log).read_text(errors='replace')[-3000:]}")
    rate = rate_of(folder / "state")
    return (
        f"{pages_per_min:g}",
        "on" if witness else "off",
        str(documents),
        str(pages),
        f"{most:.2f}",
        f"{rate:.2f}",
        f"{rate / most:.3f}",
        f"{measured.cpu_s / pages:.2f}",
        f"{measured.peak_mib:.0f}",
    )


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", default="20,60", help="of the server, in pages a minute (default: 20,60)")
    parser.add_argument("--documents", default="50", help="backlogs, e.g. 5,50 to see that memory stays flat")
    parser.add_argument(
        "--most-pages", type=int, default=40, help="of a document; the least is 1 (default: 40)"
    )
    parser.add_argument("--witness", choices=("off", "on", "both"), default="both")
    options = parser.parse_args()
    rows = []
    for rate in map(float, options.rates.split(",")):
        for documents in map(int, options.documents.split(",")):
            for witness in {"off": (False,), "on": (True,), "both": (False, True)}[options.witness]:
                with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
                    rows.append(measure(Path(folder), rate, documents, options.most_pages, witness))
                print(" ".join(rows[-1]), flush=True)
    head = (
        "server",
        "witness",
        "documents",
        "pages",
        "its maximum",
        "ocrd",
        "share",
        "CPU s a page",
        "peak MiB",
    )
    processes.print_table(head, rows)
    missed = [row for row in rows if row[1] == "off" and float(row[6]) < GOAL]
    for row in missed:
        print(f"goal missed: {row[6]} of the server's maximum, wanted {GOAL}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
