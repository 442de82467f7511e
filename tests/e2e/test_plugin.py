"""Engines that somebody else wrote, and documents so long that nothing may grow with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import paper
from support.running import Ocrd

PLUGIN = Path(__file__).parents[1] / "fakes" / "plugin"
LONG = 3000
RSS_LIMIT_MIB = 160


@pytest.fixture
def plugged(ocrd: Ocrd) -> Ocrd:
    """With the plug-in on the path."""
    ocrd.env["PYTHONPATH"] = str(PLUGIN)
    return ocrd


def test_an_engine_of_an_entry_point_reads_the_pages(plugged: Ocrd) -> None:
    paper.write_pdf(plugged.inbox / "two.pdf", "A", "B")
    assert plugged.run_once("--engine", "instant").returncode == 0
    assert plugged.text("two.pdf") == "page 1\n\fpage 2\n"
    assert plugged.show("two.pdf")["page_list"][0]["attempts"][0]["engine"] == "instant"


def test_an_engine_that_raises_anything_costs_only_its_pages(plugged: Ocrd) -> None:
    paper.write_pdf(plugged.inbox / "four.pdf", "A", "B", "C", "D")
    assert plugged.run_once("--engine", "broken").returncode == 1
    assert plugged.jobs()["four.pdf"]["state"] == "partial"
    second = plugged.show("four.pdf")["page_list"][1]
    assert (second["reason_code"], len(second["attempts"])) == ("engine_failed", 2)
    assert "a mistake of the plug-in" in second["reason"]


def test_an_unknown_engine_is_a_mistake_in_the_settings(plugged: Ocrd) -> None:
    refused = plugged.run_once("--engine", "imaginary")
    assert refused.returncode == 78
    assert "known engines: auto, embedded, vllm, broken, hanging, instant" in refused.stderr


@pytest.mark.slow
def test_a_document_of_3000_pages_is_read_in_constant_memory(plugged: Ocrd) -> None:
    write_long_pdf(plugged.inbox / "long.pdf", LONG)
    plugged.start("--engine", "instant")
    most_kib, most_files = 0, 0
    while plugged.jobs().get("long.pdf", {}).get("state") != "done":
        most_kib = max(most_kib, rss_kib(plugged))
        most_files = max(most_files, len(list((plugged.state / "work").iterdir())))
    assert plugged.text("long.pdf").split("\f")[-1] == f"page {LONG}\n"
    assert most_kib / 1024 < RSS_LIMIT_MIB
    assert most_files <= 64


def rss_kib(ocrd: Ocrd) -> int:
    """Resident memory of the daemon itself."""
    assert ocrd.process is not None
    lines = Path(f"/proc/{ocrd.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def write_long_pdf(path: Path, pages: int) -> None:
    """Many pages that share one small drawing."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{number} 0 R" for number in range(4, 4 + pages))
    objects.append(f"<< /Type /Pages /Count {pages} /Kids [ {kids} ] /MediaBox [ 0 0 200 100 ] >>")
    content = "20 40 100 10 re f"
    objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    objects += ["<< /Type /Page /Parent 2 0 R /Contents 3 0 R >>"] * pages
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    tail = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    path.write_bytes(data + tail.encode())
