from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from PIL import Image, ImageDraw, ImageFont

from ocrd.domain.documents import PageImage, Recognition, Request
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault, ServiceMissing
from ocrd.domain.jobs import Verdict
from ocrd.domain.ports import Recognizer
from ocrd.domain.quality import Cause, Judgement, judge
from ocrd.host.commands import ChildStopped
from ocrd.pipeline.recognizer import tessdata
from ocrd.pipeline.recognizer.embedded import EmbeddedRecognizer
from ocrd.pipeline.recognizer.embedded_child import (
    LARGE_LINE_PX,
    SMALL_LINE_PX,
    SURE_CONFIDENCE,
    SURE_ORIENTATION,
    SURE_SMALL_CONFIDENCE,
    WRONG_WAY_CONFIDENCE,
    choose_turn,
    has_shades,
    is_doubtful,
    is_to_be_enlarged,
    languages_of,
)

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
DOCUMENTS = Path(__file__).parents[2] / "samples" / "documents"
FAKE = str(Path(__file__).parents[1] / "fakes" / "engine_child.py")
RUSSIAN = (
    "Акционерное общество получило письмо",
    "в пятницу, двенадцатого декабря.",
    "Просим подтвердить получение и выслать",
    "подписанный экземпляр договора поставки",
    "не позднее следующей недели.",
)
LANGUAGES = ("rus", "eng")
REQUEST = Request(languages=LANGUAGES, timeout_s=60)
DPI = 200.0
LINES = (
    "Настоящий договор вступает в силу",
    "с момента подписания сторонами.",
    "The quick brown fox jumps over",
    "the lazy dog and runs away.",
    "Общая сумма составляет 48 рублей",
    "и должна быть внесена полностью.",
    "Payment is due within thirty days",
    "of the date of this invoice.",
)


def find_data() -> str | None:
    try:
        return tessdata.find(LANGUAGES, None)
    except ServiceMissing:
        return None


DATA = find_data()
pytestmark = [
    pytest.mark.skipif(not Path(FONT).exists(), reason="no font to draw pages: install fonts-dejavu-core"),
    pytest.mark.skipif(DATA is None, reason="no data: install tesseract-ocr-rus and tesseract-ocr-eng"),
]


def draw(lines: tuple[str, ...], *, size: int = 34) -> Image.Image:
    image = Image.new("L", (900, 40 + 2 * size * len(lines)), 255)
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((60, 30 + number * 2 * size), line, fill=0, font=ImageFont.truetype(FONT, size))
    return image


def page_of(image: Image.Image, folder: Path, name: str = "page.pgm") -> PageImage:
    path = folder / name
    image.save(path)
    return PageImage(path=str(path), number=1, width=image.width, height=image.height, dpi=DPI, ink=0.1)


def long_page(folder: Path) -> PageImage:
    """Some thousand words: several seconds of work."""
    image = Image.new("L", (2480, 3508), 255)
    pen = ImageDraw.Draw(image)
    font = ImageFont.truetype(FONT, 28)
    for top in range(60, 3400, 44):
        pen.text((60, top), " ".join(LINES[:4])[:150], fill=0, font=font)
    return page_of(image, folder, "long.pgm")


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def read(recognizer: EmbeddedRecognizer, page: PageImage) -> Recognition:
    return recognizer.recognize(page, REQUEST, Event())


def child_pid(recognizer: EmbeddedRecognizer) -> int:
    child = recognizer._workers[0]._child
    assert child is not None
    return child.pid


def fake(behaviour: str) -> EmbeddedRecognizer:
    return EmbeddedRecognizer("data", LANGUAGES, workers=1, program=(sys.executable, FAKE, behaviour))


@pytest.fixture
def recognizer() -> Iterator[EmbeddedRecognizer]:
    assert DATA is not None
    engine = EmbeddedRecognizer(DATA, LANGUAGES, workers=1)
    yield engine
    engine.close()


def test_it_reads_russian_and_english_with_boxes_where_the_words_are(
    recognizer: EmbeddedRecognizer, tmp_path: Path
) -> None:
    result = read(recognizer, page_of(draw(LINES), tmp_path))
    assert result.text.split() == " ".join(LINES).split()
    words = {word.text: word for block in result.blocks for word in block.words or ()}
    for text, number in (("Настоящий", 0), ("quick", 2), ("invoice.", 7)):
        line = LINES[number]
        font = ImageFont.truetype(FONT, 34)
        expected = 60 + font.getlength(line[: line.index(text)])
        left, top, right, bottom = words[text].box
        assert abs(left - expected) < 8
        assert abs(right - expected - font.getlength(text)) < 8
        assert 30 + 68 * number <= top < bottom <= 30 + 68 * number + 50
    assert (result.engine, result.prompt_mode, result.finish) == ("tesseract", "psm3", "stop")
    assert result.model_revision.endswith(" rus+eng")
    assert result.confidence is not None
    assert result.confidence > 80


def test_it_satisfies_the_protocol(recognizer: EmbeddedRecognizer) -> None:
    seam: Recognizer = recognizer
    assert seam.slots == 1


@pytest.mark.skipif(
    DATA is None or bool(tessdata.missing(DATA, ["osd"])), reason="no data: install tesseract-ocr-osd"
)
@pytest.mark.parametrize(
    ("turned", "rotation"), [(Image.Transpose.ROTATE_180, 180), (Image.Transpose.ROTATE_90, 90)]
)
def test_a_turned_page_is_read_and_its_boxes_stand_in_the_page_as_it_lies(
    recognizer: EmbeddedRecognizer, tmp_path: Path, turned: Image.Transpose, rotation: int
) -> None:
    upright = read(recognizer, page_of(draw(LINES), tmp_path))
    page = page_of(draw(LINES).transpose(turned), tmp_path)
    result = read(recognizer, page)
    assert result.rotation == rotation
    assert result.text == upright.text
    left, top, right, bottom = upright.blocks[0].box
    if rotation == 180:
        expected = (page.width - right, page.height - bottom, page.width - left, page.height - top)
    else:
        expected = (top, page.height - right, bottom, page.height - left)
    assert result.blocks[0].box == expected


def test_without_orientation_data_an_upside_down_page_is_read_all_the_same(tmp_path: Path) -> None:
    assert DATA is not None
    for language in LANGUAGES:
        (tmp_path / f"{language}.traineddata").symlink_to(f"{DATA}/{language}.traineddata")
    engine = EmbeddedRecognizer(str(tmp_path), LANGUAGES, workers=1)
    result = read(engine, page_of(draw(LINES).transpose(Image.Transpose.ROTATE_180), tmp_path))
    engine.close()
    assert result.rotation == 180
    assert result.text.split() == " ".join(LINES).split()


def test_only_a_sure_detector_is_believed() -> None:
    sure = {"orient_deg": 90, "orient_conf": SURE_ORIENTATION}
    upright = {"orient_deg": 0, "orient_conf": SURE_ORIENTATION}
    unsure = {"orient_deg": 0, "orient_conf": SURE_ORIENTATION - 1}
    assert choose_turn(sure, has_words=True) == 270
    assert choose_turn(upright, has_words=True) == 0
    assert choose_turn(unsure, has_words=True) == 180
    assert choose_turn(None, has_words=True) == 180
    assert choose_turn(None, has_words=False) == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_blank_page_has_no_text(recognizer: EmbeddedRecognizer, tmp_path: Path, mode: str) -> None:
    page = page_of(Image.new(mode, (800, 600), "white"), tmp_path, "blank.png")
    result = read(recognizer, page)
    assert (result.text, result.blocks, result.confidence) == ("", (), None)


def test_a_page_does_not_depend_on_the_pages_before(recognizer: EmbeddedRecognizer, tmp_path: Path) -> None:
    noisy = draw(LINES[:4], size=17).rotate(3, fillcolor=255).resize((450, 80))
    first = page_of(noisy, tmp_path, "a.pgm")
    second = page_of(draw(LINES[4:]).transpose(Image.Transpose.ROTATE_180), tmp_path, "b.pgm")
    fresh = read(recognizer, first)
    pid = child_pid(recognizer)
    read(recognizer, second)
    again = read(recognizer, first)
    assert child_pid(recognizer) == pid
    assert again.blocks == fresh.blocks
    assert DATA is not None
    other = EmbeddedRecognizer(DATA, LANGUAGES, workers=1)
    read(other, second)
    assert read(other, first).blocks == fresh.blocks
    other.close()


def test_another_languages_request_is_honoured(recognizer: EmbeddedRecognizer, tmp_path: Path) -> None:
    page = page_of(draw(LINES[2:4]), tmp_path)
    result = recognizer.recognize(page, Request(languages=("eng",), timeout_s=60), Event())
    assert result.model_revision.endswith(" eng")
    with pytest.raises(ServerFault, match="zzz"):
        recognizer.recognize(page, Request(languages=("eng", "zzz"), timeout_s=60), Event())
    assert read(recognizer, page).text.split() == " ".join(LINES[2:4]).split()


def test_with_auto_a_page_that_is_not_legible_is_read_in_the_languages_of_its_letters(
    recognizer: EmbeddedRecognizer, tmp_path: Path
) -> None:
    russian, english = (
        page_of(draw(RUSSIAN), tmp_path, "rus.pgm"),
        page_of(draw(LINES[2:4]), tmp_path, "eng.pgm"),
    )
    asked = Request(languages=("eng", "auto"), timeout_s=60)
    found = recognizer.recognize(russian, asked, Event())
    assert found.text.split() == " ".join(RUSSIAN).split()
    assert found.model_revision.endswith(" rus+eng")
    assert found.notes == ("the languages asked for do not read this page; it was read with rus+eng",)
    legible = recognizer.recognize(english, asked, Event())
    assert legible.text.split() == " ".join(LINES[2:4]).split()
    assert legible.model_revision.endswith(" eng")
    assert legible.notes == ()
    without = recognizer.recognize(russian, Request(languages=("eng",), timeout_s=60), Event())
    assert without.model_revision.endswith(" eng")
    assert without.notes == ()


def test_with_auto_letters_without_data_are_named_with_the_package(tmp_path: Path) -> None:
    assert DATA is not None
    for language in ("eng", "osd"):
        (tmp_path / f"{language}.traineddata").symlink_to(os.path.join(DATA, f"{language}.traineddata"))
    engine = EmbeddedRecognizer(str(tmp_path), ("eng", "auto"), workers=1)
    page = page_of(draw(RUSSIAN), tmp_path)
    found = engine.recognize(page, Request(languages=("eng", "auto"), timeout_s=60), Event())
    engine.close()
    (note,) = found.notes
    assert "in Cyrillic letters" in note
    assert "sudo apt install tesseract-ocr-rus" in note
    assert judge(page, found) == Judgement(Verdict.SUSPECT, note, Cause.SCRIPTS)


GREEK = (
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι",
    "στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι",
    "με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται",
    "μεταξύ τους με πνεύμα αδελφοσύνης.",
)


def test_a_page_in_letters_that_nobody_asked_for_is_suspect_and_one_that_was_read_is_not(
    recognizer: EmbeddedRecognizer, tmp_path: Path
) -> None:
    greek, english = page_of(draw(GREEK), tmp_path, "ell.pgm"), page_of(draw(LINES), tmp_path, "eng.pgm")
    assert judge(greek, read(recognizer, greek)).verdict is Verdict.SUSPECT
    assert judge(english, read(recognizer, english)).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("script", "named", "installed", "expected"),
    [
        ("Cyrillic", "eng", ("eng", "rus"), ("rus+eng", "")),
        ("Cyrillic", "rus+eng", ("eng", "rus"), ("", "")),
        ("Cyrillic", "rus+eng", ("bel", "eng", "rus", "ukr"), ("ukr+bel+eng", "")),
        ("Latin", "rus", ("ces", "deu", "eng", "fra", "rus", "spa"), ("eng+deu+fra", "")),
        ("Greek", "rus+eng", ("eng", "rus"), ("", "ell")),
        ("Greek", "ell", ("ell",), ("", "")),
        ("Runic", "eng", ("eng",), ("", "")),
    ],
)
def test_further_languages_are_those_of_the_script_that_are_installed(
    script: str, named: str, installed: tuple[str, ...], expected: tuple[str, str]
) -> None:
    assert languages_of(script, named, installed) == expected


@pytest.mark.parametrize("content", [b"", b"P5\n100 100\n255\nshort", b"\x89PNG\r\n\x1a\n garbage"])
def test_a_damaged_image_is_the_pages_fault_and_the_child_stays(
    recognizer: EmbeddedRecognizer, tmp_path: Path, content: bytes
) -> None:
    read(recognizer, page_of(draw(LINES[:1]), tmp_path))
    pid = child_pid(recognizer)
    (tmp_path / "bad.pgm").write_bytes(content)
    bad = PageImage(path=str(tmp_path / "bad.pgm"), number=7, width=100, height=100, dpi=DPI, ink=0.1)
    with pytest.raises(PageFault, match="page 7") as caught:
        read(recognizer, bad)
    assert caught.value.code is ReasonCode.ENGINE_FAILED
    assert not caught.value.transient
    assert child_pid(recognizer) == pid


def test_a_child_killed_on_a_page_costs_this_page_only(
    recognizer: EmbeddedRecognizer, tmp_path: Path
) -> None:
    short = page_of(draw(LINES), tmp_path)
    read(recognizer, short)
    pid = child_pid(recognizer)
    before = cpu_seconds(pid)
    page = long_page(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, recognizer, page)
        assert wait_until(lambda: cpu_seconds(pid) > before + 0.3, timeout_s=30)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(PageFault, match="SIGKILL") as caught:
            reading.result(30)
    assert caught.value.code is ReasonCode.ENGINE_CRASHED
    assert caught.value.transient
    assert read(recognizer, short).text.split() == " ".join(LINES).split()


def test_a_child_that_died_between_pages_costs_no_page(
    recognizer: EmbeddedRecognizer, tmp_path: Path
) -> None:
    page = page_of(draw(LINES[:2]), tmp_path)
    first = read(recognizer, page)
    pid = child_pid(recognizer)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not is_running(pid), timeout_s=10)
    assert read(recognizer, page).blocks == first.blocks


def test_a_page_that_takes_too_long_is_given_up_and_the_next_one_is_read(
    recognizer: EmbeddedRecognizer, tmp_path: Path
) -> None:
    short = page_of(draw(LINES[:2]), tmp_path)
    read(recognizer, short)
    with pytest.raises(PageFault, match=r"0\.3 s") as caught:
        recognizer.recognize(long_page(tmp_path), Request(languages=LANGUAGES, timeout_s=0.3), Event())
    assert caught.value.code is ReasonCode.ENGINE_TIMEOUT
    assert not caught.value.transient
    assert read(recognizer, short).text


def test_a_stop_gives_the_page_back(tmp_path: Path) -> None:
    engine = fake("never-answers")
    asked = tmp_path / "asked"
    page = PageImage(path=str(asked), number=1, width=1, height=1, dpi=DPI, ink=0)
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(engine.recognize, page, REQUEST, stop)
        assert wait_until(asked.exists, timeout_s=30)
        pid = child_pid(engine)
        stop.set()
        with pytest.raises(ChildStopped):
            reading.result(30)
    assert not is_running(pid)
    engine.close()


def test_closing_ends_a_page_in_hand_with_a_server_fault_and_leaves_no_child(tmp_path: Path) -> None:
    engine = fake("never-answers")
    asked = tmp_path / "asked"
    page = PageImage(path=str(asked), number=1, width=1, height=1, dpi=DPI, ink=0)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(engine.recognize, page, REQUEST, Event())
        assert wait_until(asked.exists, timeout_s=30)
        pid = child_pid(engine)
        engine.close()
        with pytest.raises(ServerFault, match="closed"):
            reading.result(30)
    assert not is_running(pid)
    engine.close()
    with pytest.raises(ServerFault, match="closed"):
        read(engine, page)


@pytest.mark.parametrize(
    ("behaviour", "message"), [("dies-at-start", "libtesseract"), ("cannot-load", "no such data")]
)
def test_an_engine_that_does_not_start_is_no_pages_fault(behaviour: str, message: str) -> None:
    engine = fake(behaviour)
    page = PageImage(path="/nowhere", number=1, width=1, height=1, dpi=DPI, ink=0)
    with pytest.raises(ServerFault, match=message):
        read(engine, page)
    engine.close()


@pytest.mark.parametrize(
    ("behaviour", "message"), [("aborts", "SIGABRT.*free"), ("babbles", "Segmentation fault, probably")]
)
def test_the_message_of_a_crash_says_how_it_ended(behaviour: str, message: str) -> None:
    engine = fake(behaviour)
    page = PageImage(path="/nowhere", number=1, width=1, height=1, dpi=DPI, ink=0)
    with pytest.raises(PageFault, match=message) as caught:
        read(engine, page)
    assert caught.value.code is ReasonCode.ENGINE_CRASHED
    engine.close()


def test_a_damaged_language_file_is_a_server_fault(tmp_path: Path) -> None:
    shutil.copy(f"{DATA}/eng.traineddata", tmp_path)
    (tmp_path / "rus.traineddata").write_bytes(b"no data at all")
    engine = EmbeddedRecognizer(str(tmp_path), LANGUAGES, workers=1)
    with pytest.raises(ServerFault, match="rus"):
        read(engine, page_of(draw(LINES[:1]), tmp_path))
    engine.close()


PARENT = """
import sys
from threading import Event
from ocrd.domain.documents import PageImage, Request
from ocrd.pipeline.recognizer.embedded import EmbeddedRecognizer
engine = EmbeddedRecognizer(sys.argv[1], ("rus", "eng"), workers=1)
engine.warm()
print(engine._workers[0]._child.pid, flush=True)
page = PageImage(path=sys.argv[2], number=1, width=2480, height=3508, dpi=300, ink=0.1)
engine.recognize(page, Request(languages=("rus", "eng"), timeout_s=600), Event())
"""


def test_a_killed_daemon_leaves_no_child_even_in_the_middle_of_a_page(tmp_path: Path) -> None:
    assert DATA is not None
    argv = [sys.executable, "-c", PARENT, DATA, long_page(tmp_path).path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert wait_until(lambda: cpu_seconds(pid) > 0.8, timeout_s=60)
        assert parent.poll() is None
        parent.kill()
    assert wait_until(lambda: not is_running(pid), timeout_s=2)


def test_two_workers_read_two_pages_at_once(tmp_path: Path) -> None:
    assert DATA is not None
    engine = EmbeddedRecognizer(DATA, LANGUAGES, workers=2)
    engine.warm()
    pages = [page_of(draw((line,)), tmp_path, f"{number}.pgm") for number, line in enumerate(LINES)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda page: read(engine, page), pages))
    engine.close()
    assert [" ".join(result.text.split()) for result in results] == list(LINES)


def sample(name: str) -> Image.Image:
    with Image.open(DOCUMENTS / name) as image:
        return image.convert("L")


def test_of_a_double_page_the_left_one_is_read_first(recognizer: EmbeddedRecognizer, tmp_path: Path) -> None:
    pages = sample("letter_ru.png"), sample("letter_en.jpg")
    double = Image.new("L", (sum(page.width for page in pages), max(page.height for page in pages)), 250)
    double.paste(pages[0], (0, 0))
    double.paste(pages[1], (pages[0].width, 0))
    text = read(recognizer, page_of(double, tmp_path)).text
    left, right = text.split("Harrow & Finch")
    russian, english = (re.findall(rf"[{letters}]{{4,}}", text) for letters in ("а-яА-Я", "a-zA-Z"))
    assert min(len(russian), len(english)) > 80
    assert re.findall(r"[а-яА-Я]{4,}", left) == russian
    assert len(re.findall(r"[a-zA-Z]{4,}", right)) > 0.97 * len(english)


def test_the_rows_of_an_invoice_do_not_go_on_beyond_the_fold_of_a_double_page(
    recognizer: EmbeddedRecognizer, tmp_path: Path
) -> None:
    invoice = sample("invoice_ru.png")
    double = Image.new("L", (2 * invoice.width, invoice.height), 250)
    for number in range(2):
        double.paste(invoice, (number * invoice.width, 0))
    found = read(recognizer, page_of(double, tmp_path))
    assert len(re.findall(r"^Всего к оплате: +44 382,00$", found.text, re.MULTILINE)) == 2
    tables = [block for block in found.blocks if block.category == "Table"]
    goods = [block for block in tables if "Папка-регистратор" in block.text]
    assert [block.box[0] > invoice.width for block in goods] == [False, True]
    assert [block.text.count("<th>") for block in goods] == [6, 6]


def test_a_receipt_of_two_metres_is_read_to_its_end(recognizer: EmbeddedRecognizer, tmp_path: Path) -> None:
    receipt = sample("папка/счёт за март.png")
    long = Image.new("L", (receipt.width, 24 * receipt.height), 250)
    for number in range(24):
        long.paste(receipt, (0, number * receipt.height))
    assert long.height / DPI * 2.54 > 200
    assert read(recognizer, page_of(long, tmp_path)).text.count("Уха рыбацкая") == 24


@pytest.mark.parametrize("turned", [None, Image.Transpose.ROTATE_180])
def test_a_receipt_longer_than_tesseract_reads_is_read_in_strips_and_its_boxes_stand_on_the_page(
    recognizer: EmbeddedRecognizer, tmp_path: Path, turned: Image.Transpose | None
) -> None:
    long = Image.new("L", (800, 33_000), 250)
    pen = ImageDraw.Draw(long)
    for number in range(60):
        pen.text(
            (60, 100 + 545 * number), f"Total of receipt {number + 100}", 0, ImageFont.truetype(FONT, 60)
        )
    page = long if turned is None else long.transpose(turned)
    found = read(recognizer, page_of(page, tmp_path))
    assert re.findall(r"\d{3}", found.text) == [str(number + 100) for number in range(60)]
    assert (found.width, found.height, found.rotation) == (*page.size, 0 if turned is None else 180)
    words = [word for block in found.blocks for word in block.words or () if len(word.text) > 3]
    assert len(words) >= 120
    for word in words:
        assert min(page.crop(word.box).tobytes()) < 128, f"no ink at {word}"


@pytest.mark.parametrize("degrees", [-3.0, 7.0])
def test_a_page_that_lies_askew_is_straightened_and_its_boxes_stand_on_it_as_it_lies(
    recognizer: EmbeddedRecognizer, tmp_path: Path, degrees: float
) -> None:
    askew = sample("letter_en.jpg").rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=250)
    found = read(recognizer, page_of(askew, tmp_path))
    assert "Harrow" in found.text
    assert any("askew" in note for note in found.notes)
    words = [word for block in found.blocks for word in block.words or () if len(word.text) > 3]
    assert len(words) > 100
    for word in words:
        assert min(askew.crop(word.box).tobytes()) < 128, f"no ink at {word}"


@pytest.mark.parametrize("turned", [None, Image.Transpose.ROTATE_180])
@pytest.mark.parametrize("degrees", [0.0, 3.0])
def test_a_page_of_small_type_is_enlarged_and_its_boxes_stand_on_it_as_it_is(
    recognizer: EmbeddedRecognizer, tmp_path: Path, degrees: float, turned: Image.Transpose | None
) -> None:
    full = (
        sample("letter_en.jpg")
        .convert("L")
        .rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=250)
    )
    small = full.resize((full.width * 2 // 5, full.height * 2 // 5), Image.Resampling.BOX)
    page = small if turned is None else small.transpose(turned)
    found = read(recognizer, page_of(page, tmp_path))
    assert "Harrow" in found.text
    assert any("times as large" in note for note in found.notes)
    assert (found.width, found.height) == page.size
    words = [word for block in found.blocks for word in block.words or () if len(word.text) > 3]
    assert len(words) > 80
    for word in words:
        assert min(page.crop(word.box).tobytes()) < 160, f"no ink at {word}"


@pytest.mark.parametrize(
    ("line_px", "size", "enlarged"),
    [
        (SMALL_LINE_PX, (800, 1100), True),
        (SMALL_LINE_PX + 1, (800, 1100), False),
        (0, (800, 1100), False),
        (12, (10, 30_000), False),
        (12, (5000, 5000), False),
    ],
)
def test_only_a_page_of_low_lines_that_stays_readable_is_enlarged(
    line_px: float, size: tuple[int, int], enlarged: bool
) -> None:
    assert is_to_be_enlarged(Image.linear_gradient("L").resize(size), line_px) is enlarged


@pytest.mark.parametrize(
    ("line_px", "confidence", "size", "doubtful"),
    [
        (LARGE_LINE_PX, SURE_CONFIDENCE - 1, (800, 1100), True),
        (LARGE_LINE_PX, SURE_CONFIDENCE, (800, 1100), False),
        (LARGE_LINE_PX + 1, SURE_CONFIDENCE - 1, (800, 1100), False),
        (SMALL_LINE_PX, SURE_SMALL_CONFIDENCE - 1, (800, 1100), True),
        (SMALL_LINE_PX, SURE_SMALL_CONFIDENCE, (800, 1100), False),
        (SMALL_LINE_PX, WRONG_WAY_CONFIDENCE - 1, (800, 1100), False),
        (0, SURE_CONFIDENCE - 1, (800, 1100), False),
        (SMALL_LINE_PX, SURE_CONFIDENCE - 1, (5000, 5000), False),
    ],
)
def test_only_a_poor_reading_of_a_page_that_stays_readable_is_doubted(
    line_px: float, confidence: float, size: tuple[int, int], doubtful: bool
) -> None:
    assert is_doubtful(Image.new("L", size), line_px, confidence) is doubtful


def test_small_type_in_black_and_white_is_read_enlarged_where_that_is_surer(
    recognizer: EmbeddedRecognizer, tmp_path: Path
) -> None:
    full = sample("two_columns_en.png")
    small = full.resize((full.width * 2 // 5, full.height * 2 // 5), Image.Resampling.BOX)
    page = small.point(lambda level: 255 * (level > 160))
    assert not has_shades(page)
    found = read(recognizer, page_of(page, tmp_path))
    assert any("times as large" in note for note in found.notes)
    truth = (DOCUMENTS.parent / "expected" / "two_columns_en.png.txt").read_text(encoding="utf-8").split()
    there = found.text.split()
    assert sum(word in there for word in truth) > 0.8 * len(truth)
    boxes = [word.box for block in found.blocks for word in block.words or () if len(word.text) > 3]
    assert len(boxes) > 100
    assert all(page.crop(box).getextrema()[0] == 0 for box in boxes)


def test_a_picture_in_black_and_white_is_not_enlarged_at_once() -> None:
    assert not is_to_be_enlarged(Image.linear_gradient("L").point(lambda level: 255 * (level > 128)), 12)
