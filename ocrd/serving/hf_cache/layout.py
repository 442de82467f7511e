"""Where the cache is, and the folders in it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping

from ocrd.domain.errors import OcrdError

MODEL_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class CacheUnreadable(OcrdError):
    """The cache's own folder cannot be read."""


def hub_folder(hf_home: str, env: Mapping[str, str]) -> str:
    """The cache's folder of models: that of the setting, else by the environment, as huggingface_hub finds it.

    The setting may name the folder `hub` itself or the one it is in.
    """
    if hf_home:
        home = _expand(hf_home, env).rstrip("/") or "/"
        return home if os.path.basename(home) == "hub" else os.path.join(home, "hub")
    direct = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    if direct:
        return _expand(direct, env)
    caches = env.get("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(_expand(env.get("HF_HOME") or f"{caches}/huggingface", env), "hub")


def _expand(path: str, env: Mapping[str, str]) -> str:
    if path == "~" or path.startswith("~/"):
        return (env.get("HOME") or os.path.expanduser("~")) + path[1:]
    return os.path.abspath(os.path.expanduser(path))


def fetch_command(hub: str, model: str) -> str:
    """The command that completes a model in this very cache."""
    is_usual = os.path.realpath(hub) == os.path.realpath(hub_folder("", os.environ))
    return f"hf download {model}" + ("" if is_usual else f" --cache-dir {shlex.quote(os.path.abspath(hub))}")


def model_folder(hub: str, model: str) -> str:
    return os.path.join(hub, "models--" + model.replace("/", "--"))


def model_names(hub: str) -> list[str]:
    """Of all folders `models--…` that can be a model's."""
    try:
        with os.scandir(hub) as entries:
            names = [entry.name for entry in entries if entry.name.startswith("models--") and entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CacheUnreadable(
            f"the Hugging Face cache {hub} cannot be read: {error.strerror or error}",
            hint="check its permissions, or name another by --hub",
        ) from error
    found = (name.removeprefix("models--").replace("--", "/") for name in names)
    return [name for name in found if MODEL_NAME.fullmatch(name)]
