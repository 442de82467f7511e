"""The settings: defaults, then one TOML file, then `OCRD_*` variables, then the command line. All frozen.

Each option carries its help here, so that `ocrd config init`, `samples/ocrd.toml` and `docs/configuration.md`
cannot say anything else than the code does.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from ocrd.domain import moving, page_ranges
from ocrd.domain.errors import ConfigError

ENV_PREFIX = "OCRD_"
RESERVED_VARIABLES = frozenset({"OCRD_CONFIG", "OCRD_FAULT"})
RESERVED_PREFIXES = ("OCRD_TEST_",)
FORMATS = ("txt", "md", "json", "hocr", "alto", "pdf")


def _option(
    default: Any,
    help_text: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    secret: bool = False,
    single: bool = False,
    parse: Callable[[str], object] | None = None,
) -> Any:
    """`single`: a list that may also be written as one text. `parse` raises ConfigError for a text that makes no sense."""
    metadata = {
        "help": help_text,
        "choices": choices,
        "low": low,
        "high": high,
        "secret": secret,
        "single": single,
        "parse": parse,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class InboxSettings:
    """Which folders are watched, and when a file counts as complete."""

    paths: tuple[str, ...] = _option((), "Folders to watch. `ocrd run --inbox DIR` takes their place.")
    recursive: bool = _option(True, "Look into subfolders.")
    ignore: tuple[str, ...] = _option((), 'More names to ignore, as shell patterns: ["*.bak", "private"].')
    pages: str = _option(
        "", "Only these pages of a document are read: `1-3,7,10-`; empty: all.", parse=page_ranges.parse
    )
    passwords: tuple[str, ...] = _option(
        (),
        "Tried on PDFs that ask for one, after that in the first line of NAME.pdf.password; a settings file with any must "
        "have the mode 0600.",
        secret=True,
    )
    quiet_s: float = _option(5.0, "A file is taken when it did not change for so many seconds.", low=0)
    settle_s: float = _option(
        60.0, "A file that cannot be opened yet is given so many seconds before it is rejected.", low=0
    )
    watch: str = _option(
        "auto",
        "`events` (inotify), `polling`, or `auto`: polling on network and Windows drives.",
        choices=("auto", "events", "polling"),
    )
    scan_interval_s: float = _option(
        0.0, "Seconds between full scans; 0: 300 where events work, 5 where they do not.", low=0
    )


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Who reads the pages."""

    kind: str = _option(
        "auto",
        "`embedded` (Tesseract), `vllm` (a vision model), the name of an installed plug-in, or `auto`: "
        "`vllm` if a server is named below or there is a GPU to start one on, else `embedded`.",
    )
    languages: tuple[str, ...] = _option(
        ("rus", "eng"),
        "Languages of the documents, as Tesseract names them. `auto` among them: a page that the others do not read is "
        "tried with what else is installed for its letters.",
    )
    workers: int = _option(
        0, "Pages read at the same time by the embedded engine; 0: one a processor core.", low=0
    )
    text_layer: str = _option(
        "auto",
        "Text that PDF pages bring along: `auto` takes it where it is sound, `redo` not if an earlier OCR made it, `skip` "
        "takes any, `off` or `force` none: all pages are read.",
        choices=("auto", "redo", "skip", "off", "force"),
    )
    tessdata: str = _option("", "Folder of the *.traineddata files; empty: the system's.")
    page_timeout_s: float = _option(120.0, "A page that takes longer is given up.", low=1)
    server_wait_s: float = _option(
        600.0,
        "With `auto`: pages wait so many seconds for a server that is down, then the embedded engine reads them.",
        low=0,
    )

    @property
    def layers_taken(self) -> str:
        """`text_layer` with one name for each thing that it can mean."""
        return "off" if self.text_layer == "force" else self.text_layer


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """A vision model behind an OpenAI-compatible server, vLLM above all."""

    base_url: str = _option(
        "", "Where it listens, with /v1: http://127.0.0.1:8000/v1; empty: ocrd starts one ([server])."
    )
    model: str = _option("", "The name it serves the model under; empty: the only one it has.")
    api_key: str = _option(
        "",
        "Sent with every request; empty: none. A settings file that holds it must have the mode 0600.",
        secret=True,
    )
    family: str = _option(
        "",
        "`dots.ocr`, `qwen2-vl`, `qwen3-vl`, `openai-compatible`; empty: told by the model's name.",
        choices=("", "dots.ocr", "qwen2-vl", "qwen3-vl", "openai-compatible"),
    )
    concurrency: int = _option(4, "Pages put to the server at the same time.", low=1, high=256)
    page_timeout_s: float = _option(300.0, "A page whose answer takes longer is cut off.", low=5)
    witness: bool = _option(
        True, "Let the embedded engine read every page too, and doubt what only one of the two saw."
    )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The model server that ocrd keeps warm in a container, if no [vllm] base_url names another."""

    model: str = _option("rednote-hilab/dots.ocr", "The model that reads the pages: see `ocrd models list`.")
    fallback: str = _option(
        "Qwen/Qwen2-VL-2B-Instruct",
        "Another model, for pages that the first cannot read; it takes its turns on the same GPU. Empty: none.",
    )
    working_models: str = _option(
        "",
        "A working_models.json of `ocrd models test`: its best model takes the place of `model`, the next that of "
        "`fallback`.",
    )
    image: str = _option(
        "", "Image of vLLM, by tag or digest; empty: the newest local vllm/vllm-openai that is supported."
    )
    hf_home: str = _option(
        "", "Hugging Face folder with the models; empty: $HF_HOME or ~/.cache/huggingface."
    )
    catalog: str = _option("", "A TOML file with more models, or with other values for known ones.")
    docker_host: str = _option("", "Address of the Docker engine; empty: $DOCKER_HOST or the usual socket.")
    gpus: tuple[str, ...] = _option(("all",), '"all", "none", or device ids: ["0"].', single=True)
    vram_budget_mib: int = _option(
        0, "The most GPU memory that the server may use; 0: what is free, less a reserve.", low=0
    )
    vram_budget_share: float = _option(
        0.0,
        "The same as a share of the whole GPU: 0.8; 0: no such limit. The smaller one counts.",
        low=0,
        high=1,
    )
    vram_reserve_mib: int = _option(
        0, "GPU memory that is left free; 0: 307 on Linux, 1024 under WSL2.", low=0
    )
    max_num_seqs: int = _option(4, "Pages that the server reads at the same time, at most.", low=1, high=64)
    eager: bool = _option(
        True, "Start without compiling (a minute instead of four); false is faster on long backlogs."
    )
    memory_mib: int = _option(0, "Limit of the container's main memory; 0: none.", low=0)
    hardening: str = _option(
        "strict",
        "`strict`: read-only root file system; `standard`: without that.",
        choices=("strict", "standard"),
    )
    mounts: tuple[str, ...] = _option((), 'More of the host in the container: ["/data/models:/models:ro"].')
    environment: tuple[str, ...] = _option((), 'More variables in the container: ["NAME=value"].')
    arguments: tuple[str, ...] = _option((), 'More arguments of vLLM: ["--swap-space", "0"].')
    start_timeout_s: float = _option(1800.0, "A start that takes longer is given up.", low=10)
    stall_timeout_s: float = _option(300.0, "So is one without progress for so long.", low=5)
    idle_stop_after_s: float = _option(
        0.0, "The GPU is given back after so many seconds without a page; 0: never.", low=0
    )
    sleep_mode: bool = _option(
        False,
        "While the other model has its turn, this one sleeps in main memory (which must hold its weights) and wakes up in "
        "seconds, instead of being stopped and started; untested under WSL2.",
    )
    yield_below_mib: int = _option(
        0,
        "With less GPU memory free than this, another program needs it: the server is stopped until there is room for "
        "both; 0: never.",
        low=0,
    )
    stop_on_exit: bool = _option(
        False, "Stop the container when ocrd ends; else the next ocrd takes it over."
    )
    max_park_s: float = _option(
        0.0,
        "Pages wait no longer than this for their turn with the fallback model; 0: half an hour, or longer where "
        "exchanging the models is slow.",
        low=0,
    )
    swap_overhead: float = _option(
        0.1, "The share of time that exchanging the models may take.", low=0.01, high=1
    )


@dataclass(frozen=True, slots=True)
class RasterSettings:
    """How PDF pages become images."""

    dpi: float = _option(200.0, "Resolution of PDF pages.", low=50, high=1200)
    min_dpi: float = _option(
        110.0, "A page that would need less than this to stay within its pixels fails.", low=20
    )
    window_pages: int = _option(8, "Pages rendered by one run of poppler.", low=1, high=64)
    workers: int = _option(0, "Helper processes that render; 0: chosen by the number of cores.", low=0)
    page_timeout_s: float = _option(60.0, "A page that takes longer to render fails.", low=1)
    memory_mib: int = _option(2048, "Memory limit of one rendering process.", low=256)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What is too much."""

    file_mib: int = _option(2048, "Larger files are rejected.", low=1)
    pages: int = _option(10_000, "Documents with more pages are rejected.", low=1)
    page_megapixels: float = _option(50.0, "Pages are rendered smaller than this.", low=1)
    document_s: float = _option(
        86_400.0,
        "No page of a document is begun after so many seconds of work on it; those that were read are written.",
        low=1,
    )
    min_free_mib: int = _option(
        256, "No page is begun while the disk of the store has less free space than this.", low=0
    )
    temp_mib: int = _option(
        2048,
        "Rendered pages that wait or are being read take at most so much of the disk of the store, or one page if that "
        "alone is larger; the next ones are rendered when there is room.",
        low=1,
    )
    image_megapixels: float = _option(178.9, "Images with more pixels are rejected unopened.", low=1)


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """What is written beside the inputs."""

    formats: tuple[str, ...] = _option(
        ("txt", "md"),
        'Any of "txt", "md", "json", "hocr", "alto", "pdf" (searchable, as NAME.ocr.pdf; needs the extra `pdf`).',
        choices=FORMATS,
    )
    tables: str = _option(
        "pipe",
        "Tables in Markdown: `pipe` where that loses nothing, or always `html`.",
        choices=("pipe", "html"),
    )
    page_headers: bool = _option(True, "Keep the headers and footers of pages in Markdown.")
    pdf_a: bool = _option(
        False, "Searchable PDFs as PDF/A-2b, for archives; Ghostscript converts PDFs that are none."
    )
    error_file: bool = _option(True, "Leave a NAME.ocrd-error.txt beside a document that failed.")


@dataclass(frozen=True, slots=True)
class AfterSettings:
    """What becomes of an original, with its texts, when its work is done: `keep` or `move:DIR`."""

    done: str = _option(
        moving.KEEP,
        "Documents that are `done`: `keep` where they are, or `move:DIR`, into their subfolder below DIR; a DIR that is "
        "not absolute lies below the inbox.",
        parse=moving.parse_rule,
    )
    failed: str = _option(
        moving.KEEP, "The same for those that `failed` or were `rejected`.", parse=moving.parse_rule
    )

    @property
    def rules(self) -> moving.AfterRules:
        """The folders; what is below a home is not expanded: it is the user's whose service this becomes."""
        return moving.AfterRules(moving.parse_rule(self.done), moving.parse_rule(self.failed))


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Programs that are told of each document that has ended: as JSON on standard input, without a shell."""

    on_done: tuple[str, ...] = _option(
        (),
        'Of each that is `done` or `partial`: program and arguments, ["/usr/local/bin/file-it", "--quiet"].',
    )
    on_failed: tuple[str, ...] = _option((), "Of each that `failed` or was `rejected`.")
    timeout_s: float = _option(60.0, "A program that takes longer is ended.", low=1)


@dataclass(frozen=True, slots=True)
class StateSettings:
    """Where ocrd keeps its own data."""

    dir: str = _option("", "Folder of the job store, on a local disk; empty: $XDG_STATE_HOME/ocrd.")
    keep_days: int = _option(
        0,
        "Finished documents whose file is gone, replaced or moved away are forgotten after so many days; 0: never.",
        low=0,
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is told, and how."""

    level: str = _option(
        "info", "Least important message shown.", choices=("debug", "info", "warning", "error")
    )
    format: str = _option(
        "auto",
        "`console`, `journal` (for systemd's journal), `json`, or `auto`: console on a terminal, journal under systemd, "
        "else json.",
        choices=("auto", "console", "journal", "json"),
    )
    file: str = _option(
        "auto",
        "Also a log file, in JSON; `auto`: STATE/ocrd.log for a daemon that does not run under systemd; empty: none.",
    )
    file_mib: int = _option(10, "The log file is renamed and begun anew at this size.", low=1)
    files_kept: int = _option(5, "So many renamed log files are kept.", low=0)


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Figures for Prometheus; needs the extra `metrics`."""

    listen: str = _option(
        "", 'Address of the metrics page, on this machine only: "127.0.0.1:9464"; empty: none.'
    )
    textfile: str = _option(
        "", "A *.prom file for the node exporter's textfile collector, renewed every 15 s; empty: none."
    )


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """How the daemon behaves as a process."""

    stop_timeout_s: float = _option(
        20.0, "On a stop, pages in hand may finish within so many seconds; then they are given back.", low=0
    )
    hang_grace_s: float = _option(
        120.0,
        "Work that is so much later than its deadline hangs: systemd is told no more that ocrd lives, and starts it anew.",
        low=0,
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, and where each value that is not a default came from (`section.key` → origin)."""

    inbox: InboxSettings = field(default_factory=InboxSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    vllm: VllmSettings = field(default_factory=VllmSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    raster: RasterSettings = field(default_factory=RasterSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    after: AfterSettings = field(default_factory=AfterSettings)
    hooks: HookSettings = field(default_factory=HookSettings)
    state: StateSettings = field(default_factory=StateSettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    daemon: DaemonSettings = field(default_factory=DaemonSettings)
    origins: Mapping[str, str] = field(default_factory=dict)

    def with_value(self, section: str, key: str, value: Any, origin: str) -> Settings:
        """A copy with one checked value; raises ConfigError that names `origin`."""
        option = _find_option(section, key, origin)
        checked = _check(option, value, f"{origin}: {section}.{key}")
        changed = replace(getattr(self, section), **{key: checked})
        return replace(self, **{section: changed}, origins={**self.origins, f"{section}.{key}": origin})


def sections() -> Iterator[tuple[str, Any, tuple[Field[Any], ...]]]:
    """Each section's name, its class and its options, in the order of the file."""
    for section in fields(Settings):
        if section.name != "origins":
            kind = section.default_factory
            yield section.name, kind, fields(kind)  # type: ignore[arg-type]  # a dataclass by construction


def load(config: str | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read the first settings file found, then the variables. Raises ConfigError."""
    env = os.environ if env is None else env
    settings = Settings()
    path = find_file(config, env)
    if path is not None:
        settings = _apply_file(settings, path)
    settings = _apply_variables(settings, env)
    if "@" in settings.vllm.base_url.partition("://")[2].partition("/")[0]:
        origin = settings.origins["vllm.base_url"]
        raise ConfigError(  # the address is told in logs, by `ocrd status` and in messages
            f"{origin}: vllm.base_url holds a name or a password", hint="put the key into OCRD_VLLM__API_KEY"
        )
    return settings


def secret_variables() -> frozenset[str]:
    """The variables whose values no other program shall see."""
    return frozenset(
        f"{ENV_PREFIX}{section}__{option.name}".upper()
        for section, _, options in sections()
        for option in options
        if option.metadata["secret"]
    )


def find_file(config: str | None, env: Mapping[str, str]) -> str | None:
    """The settings file that counts: `--config`, `$OCRD_CONFIG`, the user's, the system's. A file that was
    named must exist."""
    for named, origin in ((config, "--config"), (env.get("OCRD_CONFIG"), "$OCRD_CONFIG")):
        if named:
            if not os.path.isfile(named):
                raise ConfigError(f"{origin}: there is no settings file {named}", hint="ocrd config init")
            return named
    return next((path for path in default_files(env) if os.path.isfile(path)), None)


def default_files(env: Mapping[str, str]) -> list[str]:
    """Where settings are looked for when none are named, the user's first."""
    home = env.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [os.path.join(home, "ocrd", "config.toml"), "/etc/ocrd/config.toml"]


def state_dir(settings: Settings, env: Mapping[str, str] | None = None) -> str:
    """The folder of the store when neither `--state` nor a live daemon says otherwise."""
    env = os.environ if env is None else env
    if settings.state.dir:
        return os.path.abspath(os.path.expanduser(settings.state.dir))
    base = env.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "ocrd")


def _apply_file(settings: Settings, path: str) -> Settings:
    try:
        with open(path, encoding="utf-8-sig") as file:  # Notepad puts a byte order mark in front
            mode = os.fstat(file.fileno()).st_mode
            data = tomllib.loads(file.read())
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{path}: this is not valid TOML: {err}") from err
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read: {err}") from err
    for section, values in data.items():
        if not isinstance(values, dict):
            raise ConfigError(
                f"{path}: {section} stands outside of a section" + _nearest(section, _section_names())
            )
        for key, value in values.items():
            settings = settings.with_value(section, key, value, path)
            if value and mode & 0o077 and _find_option(section, key, path).metadata["secret"]:
                raise ConfigError(
                    f"{path}: {section}.{key} is a secret, and others may read this file (mode {mode & 0o777:04o})",
                    hint=f"chmod 600 {shlex.quote(path)}; or put it into ${ENV_PREFIX}{section.upper()}__{key.upper()}",
                )
    return settings


def _apply_variables(settings: Settings, env: Mapping[str, str]) -> Settings:
    for name in sorted(env):
        if (
            not name.startswith(ENV_PREFIX)
            or name in RESERVED_VARIABLES
            or name.startswith(RESERVED_PREFIXES)
        ):
            continue
        section, _, key = name.removeprefix(ENV_PREFIX).lower().partition("__")
        option = _find_option(section, key, f"${name}")
        settings = settings.with_value(section, key, _parse_variable(option, env[name]), f"${name}")
    return settings


def _parse_variable(option: Field[Any], text: str) -> Any:
    kind = type(option.default)
    if kind is str:
        return text
    if kind is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _section_names() -> list[str]:
    return [name for name, _, _ in sections()]


def _find_option(section: str, key: str, origin: str) -> Field[Any]:
    options = {name: {option.name: option for option in all_} for name, _, all_ in sections()}
    if section not in options:
        raise ConfigError(f"{origin}: there is no section {section!r}" + _nearest(section, list(options)))
    if key not in options[section]:
        raise ConfigError(
            f"{origin}: [{section}] has no option {key!r}" + _nearest(key, list(options[section]))
        )
    return options[section][key]


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are: {', '.join(known)}"


def _check(option: Field[Any], value: Any, where: str) -> Any:
    kind = type(option.default)
    if kind is tuple:
        return _check_list(option, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        shown = "what stands there" if option.metadata["secret"] else repr(value)
        raise ConfigError(f"{where} must be {_KIND_NAMES[kind]}, not {shown}")
    _check_range(option, value, where)
    return value


def _check_list(option: Field[Any], value: Any, where: str) -> tuple[str, ...]:
    if option.metadata["single"] and isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        shown = "what stands there" if option.metadata["secret"] else repr(value)
        raise ConfigError(f"{where} must be a list of texts, not {shown}")
    for item in value:
        _check_range(option, item, where)
    return tuple(value)


def _check_range(option: Field[Any], value: Any, where: str) -> None:
    choices, low, high = (option.metadata[key] for key in ("choices", "low", "high"))
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{where} holds a NUL, which no name, program or address can")
    if choices and value not in choices:
        raise ConfigError(f"{where}: {value!r} is unknown" + _nearest(str(value), list(choices)))
    if option.metadata["parse"] is not None:
        try:
            option.metadata["parse"](value)
        except ConfigError as err:
            raise ConfigError(f"{where}: {err}", hint=err.hint) from err
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} must be a number, not {value}")
    if low is not None and value < low:
        raise ConfigError(f"{where} must be at least {low:g}, not {value:g}")
    if high is not None and value > high:
        raise ConfigError(f"{where} must be at most {high:g}, not {value:g}")


_KIND_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def to_toml(settings: Settings, *, comments: bool) -> str:
    """All options as TOML; with `comments` each with its help, commented out where it is the default."""
    lines = []
    for name, kind, options in sections():
        lines.append(f"\n[{name}]")
        if comments:
            lines[-1] = f"\n# {kind.__doc__}\n[{name}]"
        for option in options:
            value = getattr(getattr(settings, name), option.name)
            text = f"{option.name} = {format_value(value)}"
            if comments:
                lines.append(f"# {option.metadata['help']}")
                text = f"# {text}" if value == option.default else text
            lines.append(text)
    return "\n".join(lines).lstrip("\n") + "\n"


def format_value(value: Any) -> str:
    """One value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = json.dumps(
            value, ensure_ascii=False
        )  # JSON's escapes are TOML's too, but for pairs of surrogates
        return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)
    if isinstance(value, tuple):
        return "[" + ", ".join(format_value(item) for item in value) + "]"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
