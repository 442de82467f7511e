"""`ocrd config`: make a settings file, show the settings with their origins, check them."""

from __future__ import annotations

import argparse
import os

from ocrd import settings as settings_module
from ocrd.cli.common import Subparsers, add_command, add_group, load_settings, print_json
from ocrd.domain.errors import ConfigError, ExitCode
from ocrd.settings import Settings

SCHEMA = "ocrd.config/1"


_MORE = """\
A value comes from the first of: an option of the command line, a variable
OCRD_SECTION__KEY, the settings file (--config, OCRD_CONFIG, the user's, the
system's), the default. Every option: docs/configuration.md.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the three commands."""
    parser = add_group(subparsers, "config", "make, show or check the settings", more=_MORE)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = add_command(actions, "init", "write a settings file with every option explained", handle_init)
    init.add_argument(
        "--inbox", action="append", metavar="DIR", help="put this inbox in; may be given several times"
    )
    add_command(actions, "show", "show each setting and where it comes from", handle_show, has_json=True)
    add_command(actions, "check", "say whether the settings are right", handle_check)


def handle_init(arguments: argparse.Namespace) -> ExitCode:
    """Run `config init`; an existing file is never touched."""
    path = arguments.config or os.environ.get("OCRD_CONFIG") or settings_module.default_files(os.environ)[0]
    settings = Settings()
    if arguments.inbox:
        inboxes = [os.path.abspath(inbox) for inbox in arguments.inbox]
        settings = settings.with_value("inbox", "paths", inboxes, "--inbox")
    try:
        text = settings_module.to_toml(settings, comments=True).encode()
    except UnicodeEncodeError as err:
        raise ConfigError(
            "TOML cannot hold an inbox whose name is not UTF-8", hint="ocrd run --inbox DIR"
        ) from err
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "xb") as file:
            file.write(text)
    except FileExistsError as err:
        raise ConfigError(f"{path} is there already and was left alone", hint="ocrd config show") from err
    except OSError as err:
        raise ConfigError(
            f"{path} cannot be written: {err.strerror}", hint="ocrd config init --config FILE"
        ) from err
    print(f"wrote {path}; change what you like, then: ocrd config check")
    return ExitCode.OK


def handle_show(arguments: argparse.Namespace) -> ExitCode:
    """Run `config show`."""
    settings = load_settings(arguments)
    rows = []
    for section, _, options in settings_module.sections():
        for option in options:
            value = getattr(getattr(settings, section), option.name)
            if value and option.metadata["secret"]:
                value = "(not shown)"
            origin = settings.origins.get(f"{section}.{option.name}", "default")
            rows.append({"section": section, "key": option.name, "value": value, "origin": origin})
    if arguments.json:
        file = settings_module.find_file(arguments.config, os.environ)
        print_json({"schema": SCHEMA, "file": file, "settings": rows})
        return ExitCode.OK
    for row in rows:
        line = f"{row['section']}.{row['key']} = {settings_module.format_value(row['value'])}"
        print(f"{line:<50}  # {row['origin']}")
    return ExitCode.OK


def handle_check(arguments: argparse.Namespace) -> ExitCode:
    """Run `config check`: the settings load, the inboxes are folders, the engine is known."""
    from ocrd.cli.run import check_inboxes

    settings = load_settings(arguments)
    check_inboxes(settings)
    file = settings_module.find_file(arguments.config, os.environ)
    print(f"the settings are right ({file or 'no settings file: defaults and variables'})")
    return ExitCode.OK
