"""A really booted systemd for the tests, by script/systemd: ocrd's wheel is installed in it, and a user lives there.

The wheel stands in an environment of its own under /opt/ocrd; what it depends on is shown to it from this checkout's
environment, so that nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.running import FINAL, wait_until

CHECKOUT = Path(__file__).parents[2]
UNAVAILABLE = 3
"""script/systemd's exit code for: no systemd can be booted here."""
PACKAGES = "/opt/ocrd-packages"
PREFIX = "/opt/ocrd"
COMMAND = f"{PREFIX}/bin/ocrd"
USER = "u1"
COMMAND_S = 90.0


class NoBoot(Exception):
    """No systemd can be booted on this machine; why."""


class Booted:
    """The guest. Its files are at hand under `tree`, except for /run, /tmp and /dev."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "root"
        self._leader = 0
        self._user_id = 0

    def boot(self) -> None:
        """Start it, or start it again after `power_off`. Raises NoBoot."""
        shown = []
        for pair in (sys.base_prefix, f"{sysconfig.get_paths()['purelib']}:{PACKAGES}"):
            if not pair.startswith("/usr"):
                shown += ["--with", pair]
        done = _script("start", str(self.folder), *shown)
        if done.returncode == UNAVAILABLE:
            raise NoBoot(done.stderr.strip().splitlines()[-1])
        assert done.returncode == 0, done.stderr
        self._leader = int(done.stdout)

    def power_off(self) -> None:
        """End all that runs in it, in order; its files stay."""
        self.run(["systemctl", "poweroff"], check=False)
        wait_until(lambda: not Path(f"/proc/{self._leader}").exists(), "the guest has powered off")

    def remove(self) -> None:
        """Power it off and take it away."""
        done = _script("stop", str(self.folder))
        assert done.returncode == 0, done.stderr

    def install(self, wheel: Path) -> None:
        """ocrd as a person would have it, and the person."""
        for folder in [Path(sys.base_prefix), *Path(sys.base_prefix).parents]:
            inside = self.tree / folder.relative_to("/")
            inside.chmod(inside.stat().st_mode | 0o011)  # a Python in root's home: its user may pass
        home = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.run([f"{sys.base_prefix}/bin/{home}", "-m", "venv", "--without-pip", PREFIX])
        (self.tree / PREFIX[1:] / "lib" / home / "site-packages" / "shared.pth").write_text(f"{PACKAGES}\n")
        (self.tree / "opt" / wheel.name).write_bytes(wheel.read_bytes())
        # What is shown of the checkout's environment has an ocrd as well: that one is neither used nor removed.
        pip = [
            f"{PREFIX}/bin/python",
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--no-index",
            "--ignore-installed",
        ]
        self.run([*pip, f"/opt/{wheel.name}"])
        self.run(["useradd", "--create-home", "--shell", "/bin/bash", USER])
        self._user_id = int(self.run(["id", "-u", USER]).stdout)

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        check: bool = True,
        timeout_s: float = COMMAND_S,
    ) -> subprocess.CompletedProcess[str]:
        """A program in the guest, as root or as a user with a session bus. With `check` it must succeed."""
        entered = [
            "nsenter",
            "-t",
            str(self._leader),
            "-m",
            "-u",
            "-i",
            "-p",
            "-C",
            "--",
            *self._as(user),
            *argv,
        ]
        done = subprocess.run(
            entered,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            env=self._env(),
        )
        if check:
            assert done.returncode == 0, f"{' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def _as(self, user: str | None) -> list[str]:
        if user is None:
            return []
        at = f"/run/user/{self._user_id}"
        session = [f"XDG_RUNTIME_DIR={at}", f"DBUS_SESSION_BUS_ADDRESS=unix:path={at}/bus"]
        return ["runuser", "-u", user, "--", "env", "-C", f"/home/{user}", f"HOME=/home/{user}", *session]

    @staticmethod
    def _env() -> dict[str, str]:
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": "/root",
            "SYSTEMD_PAGER": "",
            "SYSTEMD_COLORS": "0",
        }

    def await_user_manager(self) -> None:
        """Wait until the systemd of the lingering user has booted."""
        asked = ["systemctl", "--user", "is-system-running"]
        booted = {"running", "degraded"}
        wait_until(
            lambda: self.run(asked, user=USER, check=False).stdout.strip() in booted,
            "the user's systemd has booted",
        )

    def path(self, inside: str) -> Path:
        """Where a file of the guest is found from outside."""
        return self.tree / inside.lstrip("/")

    def write(self, inside: str, data: bytes | str, *, user: str | None = USER) -> None:
        """A whole file at once: under another name first, so that nobody finds half of it."""
        path = self.path(inside)
        draft = path.with_name(f".{path.name}.part")
        draft.write_bytes(data.encode() if isinstance(data, str) else data)
        if user is not None:
            os.chown(draft, self._user_id, self._user_id)
        draft.rename(path)

    def make_folder(self, inside: str) -> None:
        """A folder of the user's, with those above it."""
        self.run(["mkdir", "-p", inside], user=USER)

    def journal(self, unit: str, *, user: bool = False, since: str = "") -> list[dict[str, Any]]:
        """The journal's entries of a unit, oldest first; those after a cursor if one is given."""
        field = "_SYSTEMD_USER_UNIT" if user else "_SYSTEMD_UNIT"
        told = "USER_UNIT" if user else "UNIT"  # what systemd itself says of it
        after = [f"--after-cursor={since}"] if since else []
        done = self.run(
            ["journalctl", "-o", "json", "--all", *after, f"{field}={unit}", "+", f"{told}={unit}"]
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def cursor(self) -> str:
        """The end of the journal, as of now."""
        self.run(["journalctl", "--sync"])
        shown = self.run(["journalctl", "-n", "0", "--show-cursor"]).stdout
        return shown.split("cursor:")[1].strip() if "cursor:" in shown else ""


class Service:
    """ocrd as a service of the guest's user: of the `system` kind or of the `user` kind."""

    def __init__(self, guest: Booted, kind: str, inbox: str) -> None:
        self.guest = guest
        self.kind = kind
        self.inbox = inbox
        self.unit = f"ocrd@{USER}.service" if kind == "system" else "ocrd.service"
        self._scope = ["--user"] if kind == "user" else []
        self._runner = USER if kind == "user" else None

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`ocrd service …` of this kind, run by who may."""
        kind = ["--system", "--for", USER] if self.kind == "system" else ["--user"]
        return self.guest.run(
            [COMMAND, "service", words[0], *kind, *words[1:]], user=self._runner, check=check
        )

    def install(self) -> subprocess.CompletedProcess[str]:
        """As a person would."""
        self.guest.make_folder(self.inbox)
        return self.command("install", "--inbox", self.inbox, "--yes")

    def systemctl(self, verb: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A verb about this unit."""
        return self.guest.run(["systemctl", *self._scope, verb, self.unit], user=self._runner, check=check)

    def reload_units(self) -> None:
        """`systemctl daemon-reload`."""
        self.guest.run(["systemctl", *self._scope, "daemon-reload"], user=self._runner)

    def shown(self, name: str) -> str:
        """What systemd knows of the unit."""
        argv = ["systemctl", *self._scope, "show", "--value", "--property", name, self.unit]
        return self.guest.run(argv, user=self._runner).stdout.strip()

    @property
    def main_pid(self) -> int:
        """As the guest counts; 0 for none."""
        return int(self.shown("MainPID"))

    def kill(self, number: int) -> int:
        """Send a signal to the main process alone; its pid."""
        pid = self.main_pid
        assert pid, f"{self.unit} does not run"
        self.guest.run(["kill", f"-{number}", str(pid)])
        return pid

    def await_active(self, *, other_than: int = 0) -> None:
        """Wait until it is active; with another main process than this one."""

        def active() -> bool:
            return self.shown("ActiveState") == "active" and self.main_pid not in (0, other_than)

        try:
            wait_until(active, f"{self.unit} is active")
        except AssertionError as err:
            raise AssertionError(f"{err}\n{self.systemctl('status', check=False).stdout}") from None

    def override(self, name: str, text: str) -> None:
        """A drop-in, as `systemctl edit` makes it; '' takes it away."""
        below = "/etc/systemd/system" if self.kind == "system" else f"/home/{USER}/.config/systemd/user"
        folder = f"{below}/{self.unit}.d"
        self.guest.run(["mkdir", "-p", folder], user=self._runner)
        if text:
            self.guest.write(f"{folder}/{name}.conf", text, user=self._runner)
        else:
            self.guest.path(f"{folder}/{name}.conf").unlink(missing_ok=True)
        self.reload_units()

    def drop(self, name: str, data: bytes) -> None:
        """A file into the inbox."""
        self.guest.write(f"{self.inbox}/{name}", data)

    def text(self, name: str) -> str:
        """The text beside a file of the inbox."""
        return self.guest.path(f"{self.inbox}/{name}.txt").read_text()

    def json(self, *words: str) -> dict[str, Any]:
        """What a read command says to the user."""
        data: dict[str, Any] = json.loads(self.guest.run([COMMAND, *words, "--json"], user=USER).stdout)
        return data

    def job(self, name: str) -> dict[str, Any] | None:
        """The newest revision of a document."""
        path = f"{self.inbox}/{name}"
        return next((job for job in self.json("jobs", "--limit", "0")["jobs"] if job["path"] == path), None)

    def await_state(self, name: str, *states: str) -> dict[str, Any]:
        """Wait until a document is in one of these states (a final one, if none is named)."""
        wanted = set(states) or FINAL

        def arrived() -> dict[str, Any] | None:
            job = self.job(name)
            return job if job and job["state"] in wanted else None

        found: dict[str, Any] = wait_until(arrived, f"{name} is {' or '.join(sorted(wanted))}")
        return found

    def log(self, since: str = "") -> list[dict[str, Any]]:
        """The journal of the unit, systemd's words on it too."""
        return self.guest.journal(self.unit, user=self.kind == "user", since=since)

    def events(self, name: str, since: str = "") -> list[str]:
        """The daemon's lines of an event."""
        lines = [entry["MESSAGE"] for entry in self.log(since) if isinstance(entry["MESSAGE"], str)]
        return [line for line in lines if line.split(" ")[0] == name]


def own_folder() -> Path:
    """Where the guest of this run stands. What runs that were killed have left behind is removed."""
    for folder in Path(tempfile.gettempdir()).glob("ocrd-systemd-*"):
        if not Path(f"/proc/{folder.name.rpartition('-')[2]}").exists():
            Booted(folder).remove()
    return Path(tempfile.gettempdir(), f"ocrd-systemd-{os.getpid()}")


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    argv = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(CHECKOUT),
    ]
    subprocess.run(argv, check=True, timeout=COMMAND_S * 2)
    (wheel,) = folder.glob("ocrd_daemon-*.whl")
    return wheel


def _script(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(CHECKOUT / "script" / "systemd"), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S * 2, check=False)
