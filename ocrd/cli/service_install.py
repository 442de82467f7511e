"""`ocrd service install` and `uninstall`: tell what will be done, do it, and see that it works."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from ocrd import __version__
from ocrd.cli import service_proof
from ocrd.cli.common import clean
from ocrd.cli.service_plan import Account, Installation, account_of, plan, settings_of, state_of, unit_file
from ocrd.domain.errors import ConfigError, ExitCode, OcrdError, UsageError
from ocrd.host import systemd, units, wsl
from ocrd.host.systemd import Kind


def install(arguments: argparse.Namespace, kind: Kind, user: str) -> ExitCode:
    """Plan, tell, ask, do, prove."""
    account = account_of(user)
    installation = plan(kind, account, arguments.inbox or (), arguments.config)
    if not arguments.dry_run:
        _check_rights(kind, installation)
    changed = {path: text for path, text in installation.files.items() if _read(path) != text}
    _check_foreign(changed)
    _tell(installation, changed, start=not arguments.no_start)
    if arguments.dry_run or not _agreed(arguments):
        return ExitCode.OK if arguments.dry_run else ExitCode.FAILED
    _write(installation, changed)
    problem = systemd.verify([next(iter(installation.files))])
    if problem:
        print(f"systemd-analyze says: {clean(problem)}")
    systemd.systemctl(kind, "daemon-reload")
    if arguments.no_start:
        print(
            f"written; start it with: systemctl {' '.join((*kind.scope, 'enable --now', installation.unit))}"
        )
        return ExitCode.OK
    code = _start(installation)
    if wsl.is_wsl():
        _tell_wsl()
    return code


def _check_rights(kind: Kind, installation: Installation) -> None:
    systemd.need_booted()
    if kind is Kind.SYSTEM and os.geteuid() != 0:
        inboxes = " ".join(f"--inbox {inbox}" for inbox in installation.inboxes)
        command = f"sudo {sys.executable} -m ocrd service install --system --for {installation.account.name} {inboxes}"
        raise OcrdError("a service of the machine is installed by root", hint=f"{command}; or: --user")
    if kind is Kind.USER:
        systemd.show(kind, installation.unit, ("LoadState",))  # raises where no manager of the user's runs
    if kind is Kind.SYSTEM and installation.account.uid == 0:
        raise UsageError(
            "the service should not work as root",
            hint="say whose inbox it is: ocrd service install --for USER",
        )


def _check_foreign(changed: dict[str, str]) -> None:
    for path in changed:
        standing = _read(path)
        if standing is not None and not units.is_made_by_us(standing):
            raise ConfigError(
                f"{path} is not ocrd's, and was left alone", hint=f"move it away: mv {path} {path}.old"
            )


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _tell(installation: Installation, changed: dict[str, str], *, start: bool) -> None:
    account = installation.account
    print(f"{installation.unit}: ocrd {__version__} for {account.name}")
    for inbox in installation.inboxes:
        print(f"  inbox     {clean(inbox)}{'' if os.path.isdir(inbox) else '  (is made)'}")
    print(f"  store     {installation.state}")
    print(f"  settings  {installation.settings_file}{'  (is written)' if installation.new_settings else ''}")
    for path in installation.files:
        print(f"  file      {path}  ({'is written' if path in changed else 'unchanged'})")
    if start:
        scope = " ".join(("systemctl", *installation.kind.scope))
        print(
            f"  then      {scope} daemon-reload; {scope} enable --now {installation.unit}; a page is read to try it"
        )
        if installation.kind is Kind.USER and not systemd.lingers(account.name):
            print(
                f"            loginctl enable-linger {account.name}, so that it runs when nobody is logged in"
            )


def _agreed(arguments: argparse.Namespace) -> bool:
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", hint="say --yes, or look first with --dry-run")
    if input("Go on? [y/N] ").strip().lower() in {"y", "yes", "д", "да"}:
        return True
    print("Nothing was done.")
    return False


def _write(installation: Installation, changed: dict[str, str]) -> None:
    account = installation.account
    for inbox in installation.inboxes:
        if not os.path.isdir(inbox):
            _make_folders(inbox, account)
            if os.geteuid() == 0:
                os.chown(inbox, account.uid, account.gid)
    if installation.new_settings:
        _make_folders(os.path.dirname(installation.settings_file), account)
        _replace_file(installation.settings_file, installation.new_settings, account)
    for path, text in changed.items():
        _make_folders(os.path.dirname(path), account)
        _replace_file(path, text, account if installation.kind is Kind.USER else None)


def _make_folders(folder: str, account: Account) -> None:
    """Make a folder and those above it. What is made below the user's home is the user's."""
    if os.path.isdir(folder):
        return
    _make_folders(os.path.dirname(folder), account)
    try:
        os.mkdir(folder)
        if os.geteuid() == 0 and f"{folder}/".startswith(f"{account.home}/"):
            os.chown(folder, account.uid, account.gid)
    except OSError as err:
        raise OcrdError(
            f"the folder {folder} cannot be made: {err.strerror}", hint=f"mkdir -p {folder}"
        ) from err


def _replace_file(path: str, text: str, owner: Account | None) -> None:
    draft = f"{path}.ocrd-draft"
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if owner is not None and os.geteuid() == 0:
            os.chown(draft, owner.uid, owner.gid)
        os.replace(draft, path)
    except OSError as err:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise OcrdError(f"{path} cannot be written: {err.strerror}", hint="sudo, or --user") from err


def _start(installation: Installation) -> ExitCode:
    kind, unit = installation.kind, installation.unit
    try:
        systemd.systemctl(kind, "enable", unit)
        systemd.systemctl(kind, "restart", unit)
        print("ok      it runs, and has said that it is ready")
    except OcrdError as err:
        print(f"failed  {clean(str(err), keep=chr(10))}")
        _show_end(installation)
        return ExitCode.FAILED
    if kind is Kind.USER:
        _let_linger(installation.account.name)
    if service_proof.prove(installation.inboxes[0], installation.state, installation.account.uid):
        print("more    ocrd status; ocrd service logs -f")
        return ExitCode.OK
    _show_end(installation)
    return ExitCode.FAILED


def _let_linger(user: str) -> None:
    if systemd.lingers(user):
        return
    try:
        systemd.enable_linger(user)
        print("ok      it also runs when you are not logged in")
    except OcrdError:
        print("failed  it ends when you log out")
        print(f"        → sudo loginctl enable-linger {user}")


def _show_end(installation: Installation) -> None:
    print("the end of its log:")
    for line in systemd.last_lines(installation.kind, installation.unit, 12).splitlines():
        print(f"  | {clean(line)}")
    print("→ ocrd doctor; when it is mended, the same command again")


def _tell_wsl() -> None:
    distribution = os.environ.get("WSL_DISTRO_NAME", "Ubuntu")
    start = f'schtasks /Create /TN ocrd-wsl /SC ONLOGON /TR "wsl.exe -d {distribution} --exec sleep infinity"'
    print(
        "WSL stops the distribution, and ocrd with it, after its last terminal closes. To keep it running from each"
    )
    print("log-on, type in Windows (not tried from here; see docs/wsl.md):")
    print(f"    {start}")
    print("and to undo that:")
    print("    schtasks /Delete /TN ocrd-wsl /F")


# --- uninstalling ---------------------------------------------------------------------------------------------


def uninstall(arguments: argparse.Namespace, kind: Kind, user: str) -> ExitCode:
    """Remove what was installed; what a user made stays, and all data."""
    account = account_of(user)
    unit = systemd.unit_of(kind, user)
    folder, name = unit_file(kind, account.home)
    drop_in = os.path.join(folder, f"{unit}.d", units.DROP_IN)
    mine = [path for path in (drop_in, os.path.join(folder, name)) if _is_removable(path, folder, unit)]
    if not mine:
        print(f"{unit} is not installed")
        return ExitCode.OK
    for path in mine:
        print(f"  remove    {path}")
    print(f"  then      systemctl {' '.join((*kind.scope, 'disable --now', unit))}")
    if arguments.dry_run or not _agreed(arguments):
        return ExitCode.OK if arguments.dry_run else ExitCode.FAILED
    if systemd.is_booted():
        systemd.systemctl(kind, "disable", "--now", unit)
    for path in mine:
        os.unlink(path)
    with contextlib.suppress(OSError):  # drop-ins of the user's stay
        os.rmdir(os.path.dirname(drop_in))
    if systemd.is_booted():
        systemd.systemctl(kind, "daemon-reload")
    state = state_of(kind, settings_of(account, arguments.config)[0], account)
    print(f"{unit} is gone. What stays:")
    print(f"  the job store  {state}")
    print(f"  the settings   {account.home}/.config/ocrd, /etc/ocrd")
    print("  every text     beside its document")
    return ExitCode.OK


def _is_removable(path: str, folder: str, unit: str) -> bool:
    """Ours, and of no other user's service: the template is everybody's."""
    text = _read(path)
    if text is None or not units.is_made_by_us(text):
        return False
    if not path.endswith("@.service"):
        return True
    others = [name for name in os.listdir(folder) if name.startswith("ocrd@") and name.endswith(".service.d")]
    return all(
        name == f"{unit}.d" or not os.path.exists(os.path.join(folder, name, units.DROP_IN))
        for name in others
    )
