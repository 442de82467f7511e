"""What `ocrd service install` is about to put there: from the user, the settings and the command line to files."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ocrd import __version__
from ocrd import settings as settings_module
from ocrd.domain.errors import ConfigError, UsageError
from ocrd.host import systemd, units, wsl
from ocrd.host.systemd import Kind
from ocrd.settings import Settings

_LOCAL = ("http://127.", "http://localhost", "http://[::1]", "https://127.", "https://localhost")


@dataclass(frozen=True, slots=True)
class Account:
    """For whom the service works."""

    name: str
    home: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that is about to be there."""

    kind: Kind
    account: Account
    state: str
    inboxes: tuple[str, ...]
    files: dict[str, str]
    """Path → text."""
    settings_file: str
    """Where the settings are, or are to be written ('' if they stand already)."""
    new_settings: str = ""

    @property
    def unit(self) -> str:
        """The unit's name."""
        return systemd.unit_of(self.kind, self.account.name)


def account_of(user: str) -> Account:
    """Raises UsageError for a name that nobody has."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError as err:
        raise UsageError(f"there is no user {user}", hint="--for USER") from err
    return Account(user, entry.pw_dir, entry.pw_uid, entry.pw_gid)


def plan(kind: Kind, account: Account, inboxes: Sequence[str], config: str | None) -> Installation:
    """What is to be installed. Raises ConfigError."""
    settings, found = settings_of(account, config)
    wanted = tuple(os.path.realpath(inbox) for inbox in inboxes)
    configured = tuple(os.path.realpath(_expand(path, account.home)) for path in settings.inbox.paths)
    if not wanted and not configured:
        raise ConfigError(
            "no inbox is configured",
            hint="ocrd service install --inbox DIR, or first: ocrd config init --inbox DIR",
        )
    new_settings, named = "", tuple[str, ...]()
    if found is None:
        found = os.path.join(account.home, ".config/ocrd/config.toml")
        new = settings.with_value("inbox", "paths", list(wanted), "--inbox")
        new_settings = settings_module.to_toml(new, comments=True)
    elif wanted and set(wanted) != set(configured):
        named = wanted  # the settings file is the user's: what it does not say stands in the unit
    state = state_of(kind, settings, account)
    installation = Installation(
        kind, account, state, named or wanted or configured, {}, os.path.realpath(found), new_settings
    )
    return replace(installation, files=_files(installation, settings, named))


def _expand(path: str, home: str) -> str:
    return home + path[1:] if path == "~" or path.startswith("~/") else path


def settings_of(account: Account, config: str | None) -> tuple[Settings, str | None]:
    """The settings of a user, and the file that they stand in, if there is one."""
    env = {"XDG_CONFIG_HOME": os.path.join(account.home, ".config")}
    found = settings_module.find_file(config, env)
    return (settings_module.load(found, {}) if found else Settings()), found


def state_of(kind: Kind, settings: Settings, account: Account) -> str:
    """Where the store of the service lies."""
    if kind is Kind.SYSTEM:
        return f"/var/lib/ocrd/{account.name}"
    return _expand(settings.state.dir, account.home) or os.path.join(account.home, ".local/state/ocrd")


def _files(installation: Installation, settings: Settings, named: tuple[str, ...]) -> dict[str, str]:
    kind, account = installation.kind, installation.account
    needs = _needs(installation, settings, named)
    bad = units.unwritable((*needs.command, *needs.inboxes, *needs.seen, *needs.written))
    if bad is not None:
        raise ConfigError(f"systemd cannot hold the name {bad!r}", hint="rename the folder")
    folder, name = unit_file(kind, account.home)
    text = units.drop_in(kind, needs, unit=installation.unit, version=__version__)
    return {
        os.path.join(folder, name): units.packaged(kind),
        os.path.join(folder, f"{installation.unit}.d", units.DROP_IN): text,
    }


def unit_file(kind: Kind, home: str) -> tuple[str, str]:
    """The folder and the name of the file that all services of the kind share."""
    if kind is Kind.SYSTEM:
        return "/etc/systemd/system", "ocrd@.service"
    return os.path.join(home, ".config/systemd/user"), "ocrd.service"


def _needs(installation: Installation, settings: Settings, named: tuple[str, ...]) -> units.Needs:
    account = installation.account
    program = sys.executable
    if wsl.is_wsl() and program.startswith("/mnt/"):
        raise ConfigError(
            f"ocrd is installed on a Windows drive ({program}), which is not always there",
            hint="install it on the Linux side: pipx install ocrd-daemon",
        )
    command = [program, "-m", "ocrd", "run", "--config", installation.settings_file]
    if installation.kind is Kind.SYSTEM:
        command += ["--state", installation.state]
    for inbox in named:
        command += ["--inbox", inbox]
    written = [
        os.path.dirname(path) for path in (settings.log.file, settings.metrics.textfile) if "/" in path
    ]
    written += [folder for folder in sorted(settings.after.rules.folders) if folder.startswith(("/", "~/"))]
    base_url = settings.vllm.base_url
    return units.Needs(
        command=tuple(command),
        inboxes=installation.inboxes,
        seen=tuple(dict.fromkeys(_seen(account, settings, installation.settings_file))),
        written=tuple(_expand(path, account.home) for path in written),
        groups=("docker",) if _starts_containers(settings) and _group_exists("docker") else (),
        any_address=bool(base_url) and not base_url.startswith(_LOCAL),
    )


def _starts_containers(settings: Settings) -> bool:
    from ocrd.daemon.engines import choose_engine

    return choose_engine(settings)[0] == "vllm" and not settings.vllm.base_url


def _seen(account: Account, settings: Settings, settings_file: str) -> Iterator[str]:
    """What the daemon reads: its program, the Python below it, its settings, the models, the data of its engine."""
    yield from (sys.prefix, sys.base_prefix, _package_folder())
    yield os.path.dirname(settings_file)
    server = settings.server
    yield _expand(server.hf_home, account.home) or os.path.join(account.home, ".cache/huggingface")
    for path in (server.catalog, server.working_models, settings.engine.tessdata):
        if path:
            yield _expand(path, account.home)


def _package_folder() -> str:
    """Of an installation from a checkout, which lies outside of the environment; the checkout, for its migrations."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(settings_module.__file__)))
    return sys.prefix if package.startswith(sys.prefix) else package


def _group_exists(name: str) -> bool:
    import grp

    with contextlib.suppress(KeyError):
        return bool(grp.getgrnam(name))
    return False
