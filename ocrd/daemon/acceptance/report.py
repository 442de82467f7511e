"""What the acceptance test leaves: two lists for programs, one record of the run, and a report for people."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ocrd.daemon.acceptance.trial import Trial, Verdict
from ocrd.serving.hf_cache.cached_model import CachedModel

WORKING = "working_models.json"
CACHE = "cache_inspection.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Where the test was run."""

    at: datetime
    version: str
    gpu: str
    gpu_mib: int | None
    image: str
    vllm: str
    hub: str


def write_report(
    folder: str,
    here: Circumstances,
    trials: Sequence[Trial],
    cached: Sequence[CachedModel],
    *,
    language: str,
    whole: bool,
) -> list[str]:
    """Write the files into `folder`, made if need be; their paths. `language` is `ru` or `en`. `whole` says that every
    cached model was tried: only then a list of working models that stands there, and that a daemon may use, is replaced."""
    os.makedirs(folder, exist_ok=True)
    stamp = here.at.strftime("%Y%m%d_%H%M%S")
    files = {
        WORKING: _json({"schema": "ocrd.models.working/1", **_head(here), "models": _working(trials)}),
        CACHE: _json({"schema": "ocrd.models.inspect/1", "models": [asdict(one) for one in cached]}),
        f"model_test_{stamp}.json": _json(
            {"schema": "ocrd.models.test/1", **_head(here), "models": [asdict(one) for one in trials]}
        ),
        f"model_test_{stamp}.md": to_markdown(here, trials, cached, language=language),
    }
    if not whole and os.path.exists(os.path.join(folder, WORKING)):
        del files[WORKING]
    paths = []
    for name, text in files.items():
        path = os.path.join(folder, name)
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(path + ".tmp", path)
        paths.append(path)
    return paths


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def _head(here: Circumstances) -> dict[str, Any]:
    return {**asdict(here), "at": here.at.isoformat(timespec="seconds")}


def _working(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """The models that work, the best reader first: what a daemon can take its model from."""
    works = [one for one in trials if one.verdict is Verdict.WORKS]
    return [
        {
            "model": one.model,
            "start_s": one.start_s,
            "mean_cer": _mean_cer(one),
            "pages_per_min": one.readings.pages_per_min if one.readings else None,
            "vram_peak_mib": one.vram_peak_mib,
            "plan": one.plan,
        }
        for one in sorted(works, key=_mean_cer)
    ]


def _mean_cer(trial: Trial) -> float:
    if trial.readings is None:
        return 1.0
    return round(sum(min(page.cer, 1.0) for page in trial.readings.pages) / len(trial.readings.pages), 4)


# --- for people ---------------------------------------------------------------------------------------------

_WORDS = {
    "en": {
        "title": "Test of the cached vision models",
        "machine": "Machine",
        "summary": "Summary",
        "works": "Works",
        "failed": "Does not work",
        "not_started": "Not started",
        "details": "Details",
        "cache": "The cache",
        "advice": "Advice",
        "model": "model",
        "size": "size, GiB",
        "start": "start, s",
        "vram": "VRAM peak, MiB",
        "cer": "wrong letters",
        "speed": "pages/min",
        "tokens": "tokens/s",
        "vision": "picture question",
        "text": "text question",
        "reason": "reason",
        "next": "what to do",
        "state": "state",
        "yes": "right",
        "no": "wrong",
        "true": "yes",
        "false": "no",
        "none": "none",
        "page": "page",
        "seconds": "seconds",
        "stop": "Stopped within {seconds} s.",
        "back": "GPU memory given back: {back}.",
        "best": 'The best reader of those that work: **{model}**. To use it: `[server] model = "{model}"`.',
        "nothing": "No model works here. See the reasons above, and `ocrd doctor`.",
    },
    "ru": {
        "title": "Проверка зрительных моделей из кэша",
        "machine": "Машина",
        "summary": "Итог",
        "works": "Работают",
        "failed": "Не работают",
        "not_started": "Не запускались",
        "details": "Подробности",
        "cache": "Кэш",
        "advice": "Рекомендация",
        "model": "модель",
        "size": "размер, ГиБ",
        "start": "запуск, с",
        "vram": "пик VRAM, МиБ",
        "cer": "ошибочных букв",
        "speed": "страниц/мин",
        "tokens": "токенов/с",
        "vision": "вопрос по картинке",
        "text": "текстовый вопрос",
        "reason": "причина",
        "next": "что делать",
        "state": "состояние",
        "yes": "верно",
        "no": "неверно",
        "true": "да",
        "false": "нет",
        "none": "нет",
        "page": "страница",
        "seconds": "секунды",
        "stop": "Остановлена за {seconds} с.",
        "back": "Память GPU возвращена: {back}.",
        "best": 'Лучше всех из работающих читает **{model}**. Чтобы выбрать её: `[server] model = "{model}"`.',
        "nothing": "Ни одна модель здесь не работает. Причины выше; см. также `ocrd doctor`.",
    },
}


def to_markdown(
    here: Circumstances, trials: Sequence[Trial], cached: Sequence[CachedModel], *, language: str
) -> str:
    """The report."""
    words = _WORDS[language]
    return (
        "\n".join([*_opening(here, words), *_summary(trials, words), *_closing(trials, cached, words)]) + "\n"
    )


def _opening(here: Circumstances, words: Mapping[str, str]) -> list[str]:
    memory = "" if here.gpu_mib is None else f", {here.gpu_mib} MiB"
    return [
        f"# {words['title']}",
        "",
        f"{here.at.isoformat(timespec='minutes', sep=' ')} · ocrd {here.version}",
        "",
        f"## {words['machine']}",
        "",
        f"- GPU: {here.gpu}{memory}",
        f"- vLLM: {here.vllm or '?'} ({here.image})",
        f"- Hugging Face: `{here.hub}`",
        "",
    ]


def _summary(trials: Sequence[Trial], words: Mapping[str, str]) -> list[str]:
    works = [one for one in trials if one.verdict is Verdict.WORKS]
    failed = [one for one in trials if one.verdict in {Verdict.FAILED, Verdict.READS_BADLY}]
    others = [one for one in trials if one not in works and one not in failed]
    lines = [f"## {words['summary']}", "", f"### {words['works']} ({len(works)})", ""]
    columns = ("model", "size", "start", "vram", "cer", "speed", "tokens", "vision", "text")
    lines += _table([words[name] for name in columns], [_working_row(one, words) for one in works], words)
    for title, part in (("failed", failed), ("not_started", others)):
        head = [words[name] for name in ("model", "state", "reason", "next")]
        rows = [[one.model, one.cause or one.verdict.value, one.reason, one.hint] for one in part]
        lines += [f"### {words[title]} ({len(part)})", "", *_table(head, rows, words)]
    return lines


def _working_row(trial: Trial, words: Mapping[str, str]) -> list[str]:
    readings = trial.readings
    assert readings is not None, "a model that works was asked"
    return [
        trial.model,
        f"{trial.weight_bytes / 2**30:.2f}",
        f"{trial.start_s:g}",
        "—" if trial.vram_peak_mib is None else str(trial.vram_peak_mib),
        f"{_mean_cer(trial):.1%}",
        f"{readings.pages_per_min:g}",
        f"{readings.tokens_per_s:g}",
        words["yes" if readings.vision.right else "no"],
        words["yes" if readings.text.right else "no"],
    ]


def _closing(trials: Sequence[Trial], cached: Sequence[CachedModel], words: Mapping[str, str]) -> list[str]:
    lines = [f"## {words['details']}", ""]
    for trial in trials:
        if trial.readings is not None:
            lines += _details(trial, words)
    head = [words[name] for name in ("model", "state", "size", "reason")]
    rows = [[one.model, one.state.value, f"{one.weight_bytes / 2**30:.2f}", one.reason] for one in cached]
    lines += [f"## {words['cache']}", "", *_table(head, rows, words), f"## {words['advice']}", ""]
    best = min((one for one in trials if one.verdict is Verdict.WORKS), key=_mean_cer, default=None)
    lines.append(words["nothing"] if best is None else words["best"].format(model=best.model))
    return lines


def _details(trial: Trial, words: Mapping[str, str]) -> list[str]:
    readings = trial.readings
    assert readings is not None, "looked at before"
    head = [words[name] for name in ("page", "cer", "seconds", "reason")]
    rows = [[one.page, f"{one.cer:.1%}", f"{one.seconds:g}", one.problem] for one in readings.pages]
    for name, question in (("vision", readings.vision), ("text", readings.text)):
        answer = question.problem or f"{words['yes' if question.right else 'no']}: {question.answer}"
        rows.append([words[name], "—", f"{question.seconds:g}", answer])
    stop = words["stop"].format(seconds=trial.stop_s)
    if trial.vram_given_back is not None:
        stop += " " + words["back"].format(back=words["true" if trial.vram_given_back else "false"])
    phases = ", ".join(f"{name} {seconds:g}" for name, seconds in (trial.phases or {}).items())
    return [f"### {trial.model}", "", *_table(head, rows, words), *([phases, ""] if phases else []), stop, ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Mapping[str, str]) -> list[str]:
    if not rows:
        return [words["none"], ""]
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in cells] + [""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
