"""The verdict on a page: from the ink on it and the text that was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ocrd.domain.documents import Box, PageImage, Recognition
from ocrd.domain.jobs import Verdict
from ocrd.domain.models import PROFILES
from ocrd.domain.rendering import PICTURE
from ocrd.domain.repetition import Loop, find_block_loop, find_loop
from ocrd.domain.scripts import script_report, unexpected

INK_WITHOUT_TEXT = 2e-3
"""Above this share of ink a page without any text is a picture or was not understood; below it, dirt.
A line of 12 pt type covers about 1.5e-3 of an A4 page."""

LEGIBLE_CONFIDENCE = 60.0
"""Tesseract's mean confidence (0 to 100) below which its text is no reading of the page. On 110 pages of real documents that
it reads, 71 was the lowest; four pages of handwriting had 38 to 44, and letters without data for them 34 to 51."""
FEWEST_LETTERS = 20
"""Fewer are dirt, a stamp or a page number, and tell too little."""


class Cause(StrEnum):
    """What is wrong with an answer; the next way of asking follows from it (`domain/retry.py`)."""

    NONE = "none"
    LOOP = "loop"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    NO_TEXT = "no_text"
    PICTURE_ONLY = "picture_only"
    HALLUCINATED = "hallucinated"
    DENSITY = "density"
    SCRIPTS = "scripts"
    WITNESS = "witness"
    ILLEGIBLE = "illegible"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason in words (empty when the verdict is `ok`) and its cause."""

    verdict: Verdict
    reason: str = ""
    cause: Cause = Cause.NONE


def judge(page: PageImage, recognition: Recognition, languages: Sequence[str] = ()) -> Judgement:
    """What to think of an answer. Checks for what only a generative model does are left out for Tesseract."""
    if recognition.engine != TESSERACT:
        found = _judge_finish(recognition) or _judge_model_text(page, recognition, languages)
        if found is not None:
            return found
    judgement = _judge_text(page, recognition)
    if judgement.verdict is Verdict.OK and recognition.engine == TESSERACT:
        return _judge_confidence(recognition) or judgement
    return judgement


def _judge_text(page: PageImage, recognition: Recognition) -> Judgement:
    text_found = bool(recognition.text.strip())
    if page.notes:
        damage = f"the page is damaged; the renderer said: {page.notes[0]}"
        return Judgement(Verdict.SUSPECT, damage if text_found else f"no text found; {damage}")
    if text_found:
        return Judgement(Verdict.OK)
    if page.ink < INK_WITHOUT_TEXT:
        return Judgement(Verdict.BLANK, "no text, and next to no ink on the page")
    reason = f"no text found, although {page.ink:.1%} of the page is covered with ink"
    return Judgement(Verdict.SUSPECT, reason, Cause.NO_TEXT)


def _judge_confidence(recognition: Recognition) -> Judgement | None:
    """Whether Tesseract takes its own text for a reading of the page. Signs on a page that is empty otherwise may be dirt."""
    if recognition.doubt:
        return Judgement(Verdict.SUSPECT, recognition.doubt, Cause.SCRIPTS)
    sure = recognition.confidence
    if sure is None or sure >= LEGIBLE_CONFIDENCE or _letters(recognition.text) < FEWEST_LETTERS:
        return None
    reason = (
        f"the page was hardly legible, with a confidence of {sure:.0f} of 100: handwriting, a poor picture, or a language "
        "that was not asked for"
    )
    return Judgement(Verdict.SUSPECT, reason, Cause.ILLEGIBLE)


# --- what generative models do ------------------------------------------------------------------------------

TESSERACT = "tesseract"
_FINISH = {
    "length": (Verdict.TRUNCATED, "the answer was longer than the room for it"),
    "abort": (Verdict.TRUNCATED, "the server broke the answer off"),
    "deadline": (Verdict.TRUNCATED, "the answer did not end in time"),
    "cut": (Verdict.TRUNCATED, "the answer ended without its end mark"),
    "broken": (Verdict.TRUNCATED, "a part of the answer was damaged on its way"),
    "loop": (Verdict.LOOP, "the model repeated itself without an end"),
    "repetition": (Verdict.LOOP, "the model repeated itself without an end, says the server"),
}
_CAUSES = {Verdict.TRUNCATED: Cause.TRUNCATED, Verdict.LOOP: Cause.LOOP}

CHARACTERS_PER_IN2 = 300
"""More than this cannot stand on a square inch: 6 pt type, set solid, has about 200."""
LETTERS_PER_INK = 80 / 1.5e-3
"""Letters of a line of 12 pt over the share of an A4 page that it covers."""
THIN = 6.0
"""Thin, small and pale type has so many more letters to the same ink."""
FEW_LETTERS = 60
"""Fewer letters are never more than the ink allows: a stamp, a page number with its heading."""
PICTURE_SHARE = 0.6
PICTURE_LETTERS = 20
"""A picture over so much of the page and no more letters than this beside it: its own text was not read."""
_TAG = re.compile(r"<[^<>]{0,200}>")
TALK_LETTERS = 400
"""A longer answer that begins like talk is a letter or an article that does."""
_SORRY = r"(?:(?:sure|certainly|unfortunately|sorry|i['’]?m sorry|i am sorry|извините|к сожалению)\W+(?:(?:but|но)\W+)?)?"
_UNREADABLE = r"(?:(?:completely|entirely|mostly) )?(?:blank|empty|too |not (?:clear|readable|legible)|unreadable|illegible|blurry)"
_TALK = re.compile(
    rf"^\W*{_SORRY}(?:as an ai\b|read all the text\b"
    r"|i(?:['’]m| am)? (?:can(?:no|['’])t|unable to|not able to) (?:\w+ )?"
    r"(?:assist|help|read|see|view|extract|process|transcribe|recogni[sz]e|identify)"
    r"|i (?:don['’]t|do not) see (?:any|an?) (?:\w+ )?(?:text|image)"
    r"|(?:the|this)(?: provided| given| attached)? (?:image|picture)(?: you)? (?:provided |sent )?"
    rf"(?:shows|contains|depicts|appears|does(?: not|n['’]t) (?:contain|show|have)|is (?:an? |{_UNREADABLE}))"
    r"|(?:the|this)(?: provided| given| attached)? (?:page|document)(?: you)? (?:provided |sent )?"
    rf"(?:appears to be|(?:contains|has) no (?:\w+ )?text\b|does(?: not|n['’]t) contain any|is {_UNREADABLE})"
    r"|it (?:appears|seems|looks like)(?: that)? (?:the|this) (?:image|picture|page|document) "
    r"|the text (?:in|on) (?:the|this) (?:image|picture|page) (?:is (?:not|too|un|il)|can(?:no|['’])t)"
    r"|this is an? (?:image|picture|scan|photo)\b"
    r"|there(?: is|['’]s| (?:seems|appears) to be) no (?:visible |readable |legible )?text\b"
    r"|here is the (?:extracted )?text[^\n]{0,40}:\W*$"
    r"|(?:no[ _](?:visible |readable )?text|image|picture|blank page)(?: (?:is|was))?"
    r"(?: found| detected| in the image)?\W*$"
    r"|на (?:этом |данном )?(?:изображении|картинке|фото) (?:\w+ )?(?:показан|изображ[её]н|представлен|вид(?:ен|на|но|ны)\b"
    r"|нет\b|отсутств|содерж|находится)|на (?:этой |данной )?странице (?:нет|отсутствует) текст"
    r"|изображение (?:пуст|содержит|показывает|не (?:содержит|чита))|страница (?:пуста\b|не содержит текста)"
    r"|(?:я )?не (?:могу|смог|удалось|уда[её]тся) (?:прочитать|распознать|помочь|извлечь|разобрать|обработать)"
    r"|я не вижу (?:\w+ )?текст"
    r"|(?:текст на (?:изображении|картинке|странице) |текст )(?:не (?:найден|читается|разборчив|распозна)|неразборчив|отсутствует)"
    r"\w*\W*$|нет текста\W*$)",
    re.IGNORECASE,
)
"""How models speak of a page instead of reading it. A caption (`На фото: директор школы`), a licence (`The image is
licensed under …`), a letter (`I'm sorry for your loss`) and what documents say of themselves (`This document is not a
VAT invoice`) look otherwise."""
_LINK = re.compile(r"!\[[^\[\]]{0,200}\]\([^()]{0,200}\)")
ECHO_LETTERS, ECHO_REST = 20, 12
"""A piece of a prompt, and how many letters may stand beside it: `Bounding Box` and `Text` are words of documents."""
MOST_OFF_PAGE = 0.5
"""A share of an answer's letters: more of them stand where there is no page."""
SLIVER = 2
"""Pixels of a box at the page's edge that nothing is written in; boxes are cut to the page before they come here."""


def _judge_finish(recognition: Recognition) -> Judgement | None:
    if recognition.finish == "stop":
        return None
    verdict, reason = _FINISH.get(
        recognition.finish, (Verdict.TRUNCATED, f"the answer ended with '{recognition.finish}'")
    )
    return Judgement(verdict, reason, _CAUSES[verdict])


def _judge_model_text(
    page: PageImage, recognition: Recognition, languages: Sequence[str]
) -> Judgement | None:
    text = recognition.text.strip()
    loop = _find_loop(recognition)
    if loop is not None:
        pattern = " ".join(loop.pattern.split())[:60]
        return Judgement(Verdict.LOOP, f"the text says {loop.count} times: {pattern}", Cause.LOOP)
    if _is_talk(text):
        return Judgement(
            Verdict.REFUSED, f"the model did not read the page, but said: {text[:120]}", Cause.REFUSED
        )
    if _is_picture_only(page, recognition, text):
        reason = "a picture covers the page, and no text was read in it"
        return Judgement(Verdict.SUSPECT, reason, Cause.PICTURE_ONLY)
    doubt = _too_much_text(page, text) or _off_page(page, recognition)
    if doubt is not None:
        return doubt
    strange = unexpected(script_report(text), languages)
    return Judgement(Verdict.SUSPECT, strange, Cause.SCRIPTS) if strange else None


def _find_loop(recognition: Recognition) -> Loop | None:
    """In the regions, in each of them (the empty cells of a table are not in the text), and in the text."""
    tables = (block.text for block in recognition.blocks if "<t" in block.text)
    return find_block_loop(recognition.blocks) or next(
        (loop for text in (*tables, recognition.text) if (loop := find_loop(text)) is not None), None
    )


def _is_talk(text: str) -> bool:
    """Whether an answer speaks of the page, or of the prompt, and does nothing else."""
    if _letters(text) <= TALK_LETTERS and _TALK.match(text):
        return True
    rest, links = _LINK.subn("", text)
    return _is_echo(text) or (links > 0 and not any(map(str.isalnum, rest)))


def _is_echo(text: str) -> bool:
    """Whether it is a prompt, or a piece of one, and hardly anything else."""
    said = _squeezed(text)
    for prompt in _PROMPTS:
        if _letters(said) >= ECHO_LETTERS and said in prompt:
            return True
        if prompt in said and _letters(said) - _letters(prompt) <= ECHO_REST:
            return True
    return False


def _squeezed(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .:`\"'*")


_PROMPTS = tuple(_squeezed(prompt) for profile in PROFILES.values() for prompt in profile.prompts.values())


def _is_picture_only(page: PageImage, recognition: Recognition, text: str) -> bool:
    pictures = {block.box for block in recognition.blocks if block.category == PICTURE}
    covered = sum(_area_on_page(page, box) for box in pictures)
    return (
        covered > PICTURE_SHARE * page.width * page.height
        and _letters(text) < PICTURE_LETTERS
        and page.ink >= INK_WITHOUT_TEXT
    )


def _too_much_text(page: PageImage, text: str) -> Judgement | None:
    """More text than the page has ink, or room, for."""
    letters = sum(letter.isalnum() for letter in _TAG.sub("", text))
    ink = max(page.ink, page.faint_ink)
    if letters > max(FEW_LETTERS, THIN * LETTERS_PER_INK * ink):
        reason = f"{letters} letters were read, but only {ink:.2%} of the page is covered with ink"
        return Judgement(Verdict.SUSPECT, reason, Cause.HALLUCINATED)
    area_in2 = page.width * page.height / page.dpi**2
    if page.dpi_is_exact and letters > max(FEW_LETTERS, CHARACTERS_PER_IN2 * area_in2):
        reason = f"{letters} letters do not fit on a page of {area_in2:.0f} square inches"
        return Judgement(Verdict.SUSPECT, reason, Cause.DENSITY)
    return None


def _off_page(page: PageImage, recognition: Recognition) -> Judgement | None:
    """Most of the text in places that the page does not have."""
    letters = {True: 0, False: 0}
    for block in recognition.blocks:
        letters[_is_off_page(page, block.box)] += _letters(_TAG.sub("", block.text))
    if letters[True] <= max(FEW_LETTERS, MOST_OFF_PAGE * sum(letters.values())):
        return None
    reason = f"{letters[True]} of {sum(letters.values())} letters were read outside of the page"
    return Judgement(Verdict.SUSPECT, reason, Cause.DENSITY)


def _is_off_page(page: PageImage, box: Box) -> bool:
    left, top, right, bottom = box
    at_edge = left <= 0 or top <= 0 or right >= page.width or bottom >= page.height
    if at_edge and min(right - left, bottom - top) <= SLIVER:
        return True
    return _area_on_page(page, box) < (right - left) * (bottom - top) / 2


def _area_on_page(page: PageImage, box: Box) -> int:
    """Pixels of a box that are the page's."""
    across = min(box[2], page.width) - max(box[0], 0)
    down = min(box[3], page.height) - max(box[1], 0)
    return max(0, across) * max(0, down)


def _letters(text: str) -> int:
    return sum(letter.isalpha() for letter in text)


# --- which of several answers is the best -------------------------------------------------------------------

_RANK = {
    Verdict.OK: 5,
    Verdict.SUSPECT: 4,
    Verdict.TRUNCATED: 3,
    Verdict.LOOP: 3,
    Verdict.BLANK: 2,
    Verdict.REFUSED: 1,
    Verdict.FAULT: 0,
}
"""An answer that was cut off and one that went in circles are worth what could be read in them."""


def score(judgement: Judgement, recognition: Recognition) -> tuple[float, bool, float, float]:
    """How good an answer is, to be compared with others of the same page; the greatest wins, and all can be compared.

    First its verdict: `ok` before all others, an answer without a single letter behind all that have some. Then
    whether it is the model's, then what the second reader found of it (0.5 if there was none), then how many letters
    and digits it has; of a loop, those of one round.
    """
    loop = find_loop(recognition.text) if judgement.cause is Cause.LOOP else None
    text = recognition.text
    if loop is not None:
        text = text[: loop.start + len(loop.pattern)] + text[loop.end :]
    letters = sum(letter.isalnum() for letter in text)
    rank = _RANK[judgement.verdict]
    if not letters and judgement.verdict is not Verdict.OK:  # a good answer may be a row of ticks
        rank = min(rank, _RANK[Verdict.BLANK])
    heard = recognition.testimony
    agreed = 0.5 if heard is None else (float(heard["recall"]) + float(heard["precision"])) / 2
    return float(rank), recognition.engine != TESSERACT, agreed, float(letters)
