"""What `ocrd service` plans and says; that it works is shown on a booted systemd, in tests/systemd/."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from ocrd.cli import main, service_install
from ocrd.cli.service_plan import Account, account_of, plan
from ocrd.domain.errors import ConfigError, UsageError
from ocrd.host import systemd
from ocrd.host.systemd import Kind


@pytest.fixture
def anna(tmp_path: Path) -> Account:
    """Whose home is empty."""
    return Account("anna", str(tmp_path), os.getuid(), os.getgid())


def settings_of(anna: Account, text: str) -> Path:
    path = Path(anna.home, ".config/ocrd/config.toml")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_without_settings_they_are_written_with_the_inbox(anna: Account) -> None:
    planned = plan(Kind.USER, anna, [f"{anna.home}/inbox"], None)
    assert planned.settings_file == f"{anna.home}/.config/ocrd/config.toml"
    assert tomllib.loads(planned.new_settings)["inbox"]["paths"] == [f"{anna.home}/inbox"]
    assert list(planned.files) == [
        f"{anna.home}/.config/systemd/user/ocrd.service",
        f"{anna.home}/.config/systemd/user/ocrd.service.d/10-ocrd.conf",
    ]
    assert "--inbox" not in planned.files[f"{anna.home}/.config/systemd/user/ocrd.service.d/10-ocrd.conf"]


def test_settings_that_stand_are_left_alone_and_the_unit_names_the_inbox(anna: Account) -> None:
    settings_of(anna, "[output]\nformats = ['md']\n")
    planned = plan(Kind.SYSTEM, anna, [f"{anna.home}/inbox"], None)
    assert planned.new_settings == ""
    drop_in = planned.files["/etc/systemd/system/ocrd@anna.service.d/10-ocrd.conf"]
    assert f'"--inbox" "{anna.home}/inbox"' in drop_in
    assert '"--state" "/var/lib/ocrd/anna"' in drop_in


def test_the_inboxes_of_the_settings_count_when_none_is_named(anna: Account) -> None:
    settings_of(anna, '[inbox]\npaths = ["~/in", "/mnt/c/scans"]\n')
    planned = plan(Kind.SYSTEM, anna, [], None)
    assert planned.inboxes == (f"{anna.home}/in", "/mnt/c/scans")
    assert (
        'ReadWritePaths="-/mnt/c/scans"'
        in planned.files["/etc/systemd/system/ocrd@anna.service.d/10-ocrd.conf"]
    )


def test_without_any_inbox_it_is_said_what_to_type(anna: Account) -> None:
    with pytest.raises(ConfigError, match="no inbox") as caught:
        plan(Kind.USER, anna, [], None)
    assert "--inbox DIR" in caught.value.hint


def test_a_name_that_no_unit_file_can_hold_is_refused(anna: Account) -> None:
    settings_of(anna, "")
    with pytest.raises(ConfigError, match="cannot hold the name"):
        plan(Kind.SYSTEM, anna, ["/srv/two\nlines"], None)


def test_a_server_on_another_machine_is_let_in(anna: Account) -> None:
    settings_of(anna, '[inbox]\npaths = ["/srv/in"]\n[vllm]\nbase_url = "http://192.0.2.7:8000/v1"\n')
    planned = plan(Kind.SYSTEM, anna, [], None)
    assert "IPAddressAllow=any" in "".join(planned.files.values())


def test_a_log_elsewhere_may_be_written(anna: Account) -> None:
    settings_of(anna, '[inbox]\npaths = ["/srv/in"]\n[log]\nfile = "~/logs/ocrd.log"\n')
    planned = plan(Kind.SYSTEM, anna, [], None)
    assert f'"-{anna.home}/logs"' in planned.files["/etc/systemd/system/ocrd@anna.service.d/10-ocrd.conf"]


def test_a_file_of_somebody_elses_is_not_replaced(anna: Account) -> None:
    unit = Path(anna.home, ".config/systemd/user/ocrd.service")
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    planned = plan(Kind.USER, anna, [f"{anna.home}/in"], None)
    with pytest.raises(ConfigError, match=r"is not ocrd's") as caught:
        service_install._check_foreign(planned.files)
    assert str(unit) in caught.value.hint


def test_a_template_that_serves_another_user_stays(tmp_path: Path) -> None:
    (tmp_path / "ocrd@.service").write_text("# ocrd as a service of the system\n")
    for user in ("anna", "boris"):
        folder = tmp_path / f"ocrd@{user}.service.d"
        folder.mkdir()
        (folder / "10-ocrd.conf").write_text("# Made by `ocrd service install`.\n")
    template = str(tmp_path / "ocrd@.service")
    assert not service_install._is_removable(template, str(tmp_path), "ocrd@anna.service")
    (tmp_path / "ocrd@boris.service.d" / "10-ocrd.conf").unlink()
    assert service_install._is_removable(template, str(tmp_path), "ocrd@anna.service")


def test_a_dry_run_tells_everything_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    inbox = tmp_path / "in"
    words = ["service", "install", "--user", "--inbox", str(inbox), "--config", str(config), "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    for word in (str(inbox), "(is made)", "ocrd.service.d/10-ocrd.conf", "daemon-reload"):
        assert word in said
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.skipif(systemd.is_booted(), reason="systemd runs this machine: it would be installed")
def test_without_systemd_it_is_said_how_to_run_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["install", "--inbox", str(tmp_path)], ["status"], ["restart"]):
        assert main(["service", words[0], "--user", *words[1:]]) == 69
        assert "ocrd run" in capsys.readouterr().err


def test_an_unknown_user_is_a_mistake_of_usage() -> None:
    with pytest.raises(UsageError, match="there is no user"):
        account_of("nobody-of-this-name")


def test_whose_service_it_is_must_make_sense(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "status", "--user", "--for", "anna"]) == 2
    assert "--for goes with --system" in capsys.readouterr().err
