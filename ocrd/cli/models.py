"""`ocrd models`: which models there are, which work here, and the container that serves one of them."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from ocrd.cli.common import (
    Subparsers,
    add_command,
    add_group,
    clean,
    find_state,
    in_words,
    is_terminal,
    load_settings,
)
from ocrd.cli.orders import send_order
from ocrd.domain.errors import ExitCode, ServiceMissing, UsageError
from ocrd.host import files, runtime
from ocrd.settings import Settings

if TYPE_CHECKING:
    from ocrd.serving.server import ModelServer

_POLL_S = 0.2


_MORE = """\
None of it downloads anything. To begin: ocrd models inspect (what the Hugging
Face cache has), ocrd models plan (whether it fits), ocrd models test --cached.
How it works: docs/serving.md.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command; its own are added when it is used."""
    parser = add_group(
        subparsers, "models", "list, inspect, plan, test, start and stop vision models", more=_MORE
    )
    parser.fill = _add_actions


def _add_actions(parser: argparse.ArgumentParser) -> None:
    from ocrd.cli import models_inspect, models_list, models_plan, models_test

    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    models_list.add_parser(actions)
    models_inspect.add_parser(actions)
    models_plan.add_parser(actions)
    models_test.add_parser(actions)
    start = add_command(actions, "start", "start the model server, and keep it warm", handle_start)
    start.add_argument("model", nargs="?", metavar="MODEL", help="another than [server] model")
    add_command(actions, "stop", "stop the model server, and give the GPU back", handle_stop)
    log = add_command(actions, "log", "print the end of the model server's log", handle_log)
    log.add_argument("--lines", type=int, default=100, metavar="N", help="how many (default: 100)")
    pin = add_command(actions, "pin", "choose the image of vLLM anew, and stay with it", handle_pin)
    pin.add_argument(
        "image", nargs="?", metavar="IMAGE", help="a local one, by tag or id; default: the newest"
    )


def handle_start(arguments: argparse.Namespace) -> ExitCode:
    """Run `models start`."""
    settings, state = load_settings(arguments), find_state(arguments)
    if files.is_locked(runtime.lock_path(state)):
        if arguments.model:
            raise UsageError(
                "the daemon runs: it starts the model of its settings",
                hint="set [server] model, and restart it",
            )
        return send_order(arguments, "models_start", {})
    from ocrd.daemon.driving import driven, held, opened
    from ocrd.daemon.managed import chosen_models
    from ocrd.telemetry import logs

    logs.configure(level="critical", output_format=settings.log.format)  # the command tells it itself
    model = arguments.model or chosen_models(settings)[0]
    with opened(state) as stores, held(state), driven(settings, stores, keep=True) as managed:
        managed.planner.forgive()
        managed.server.want(model)
        return _watch_start(managed.server, model)


def _watch_start(server: ModelServer, model: str) -> ExitCode:
    """Say each phase once, until the model is ready or does not come."""
    began, said = time.monotonic(), ""
    while not server.serves(model):
        facts = server.facts()
        line = _phase_line(facts)
        if line != said:
            print(clean(line), flush=True)
            said = line
        problem = server.problem_of(model)
        if problem is not None:
            raise ServiceMissing(f"{model} does not start: {problem.message}", hint=problem.hint)
        time.sleep(_POLL_S)
    print(f"{clean(model)} is ready at {server.facts()['url']} after {in_words(time.monotonic() - began)}")
    return ExitCode.OK


def _phase_line(facts: dict[str, Any]) -> str:
    parts = [facts["state"]]
    if facts["phase"]:
        parts.append(facts["phase"])
    if facts["eta_s"] is not None and is_terminal():
        parts.append(f"about {in_words(facts['eta_s'])} left")
    return ", ".join(parts)


def handle_stop(arguments: argparse.Namespace) -> ExitCode:
    """Run `models stop`."""
    settings, state = load_settings(arguments), find_state(arguments)
    if files.is_locked(runtime.lock_path(state)):
        return send_order(arguments, "models_stop", {})
    return _stop(settings, state)


def _stop(settings: Settings, state: str) -> ExitCode:
    from ocrd.daemon.driving import held, opened, stop_containers
    from ocrd.serving.container import DockerRuntime

    with held(state), opened(state) as stores:
        ended = stop_containers(DockerRuntime(settings.server.docker_host), stores.commands.instance())
    print(f"stopped: {', '.join(ended)}" if ended else "no model server was running")
    return ExitCode.OK


def handle_pin(arguments: argparse.Namespace) -> ExitCode:
    """Run `models pin`."""
    settings, state = load_settings(arguments), find_state(arguments)

    from ocrd.daemon.driving import opened
    from ocrd.serving.container import DockerRuntime
    from ocrd.serving.planner import choose_image

    if arguments.image:
        settings = settings.with_value("server", "image", arguments.image, "the command line")
    image, why = choose_image(settings.server, DockerRuntime(settings.server.docker_host))
    with opened(state) as stores:
        stores.servers.pin_image(image.id)
    name = arguments.image or clean(why)
    print(f"from the next start on: {name} ({image.id[:19]})")
    if load_settings(arguments).server.image:
        print("[server] image stands over it")
    return ExitCode.OK


def handle_log(arguments: argparse.Namespace) -> ExitCode:
    """Run `models log`: of the container that runs, or of the one that ended last."""
    settings, state = load_settings(arguments), find_state(arguments)

    from ocrd.daemon.driving import opened
    from ocrd.domain.serving import INSTANCE_LABEL
    from ocrd.serving.container import DockerRuntime

    runtime_ = DockerRuntime(settings.server.docker_host)
    with opened(state) as stores:
        instance = stores.commands.instance()
        failed = stores.servers.last_failure()
    ours = [one for one in runtime_.managed() if one.labels.get(INSTANCE_LABEL) == instance]
    if ours:
        print(clean(runtime_.tail(ours[0].id, arguments.lines), keep="\n\t"))
        return ExitCode.OK
    if failed is not None and failed.details.get("log"):
        print("\n".join(clean(str(failed.details["log"]), keep="\n\t").splitlines()[-arguments.lines :]))
        return ExitCode.OK
    print("no model server has run yet, or the last one ended well")
    return ExitCode.FAILED
