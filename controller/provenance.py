"""What made a campaign's decisions: software, machine, commit, command and person, as the event ``started`` keeps it.

Laws:
    * It never fails and never waits long: what cannot be found is "none".
    * No secret enters: neither the value of a variable that the campaign names, nor what looks like a password.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .campaign import Campaign
from .ledger.reader import sqlite_version
from .secret import MIN_LENGTH, mask, variables

NONE = "none"
_PACKAGES = ("closedloop", "torch", "botorch", "gpytorch", "numpy", "scipy", "ray")
_GIT_S = 2.0
_LONGEST = 1000  # characters of the command line
_HIDDEN = "<hidden>"
_WORD = r"[\w.-]*(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|credential|auth)[\w.-]*"
_OPTION = re.compile(rf"-+{_WORD}", re.IGNORECASE)
_ASSIGNED = re.compile(rf"({_WORD}\s*[=:]\s*)[^\s&,;]+", re.IGNORECASE)
_IN_URL = re.compile(r"(://)\S*@")


def provenance(campaign: Campaign) -> dict[str, str]:
    """Versions, machine, commit, command and person; ``folder`` is where relative sources start."""
    folder = campaign.folder or Path.cwd()
    commit, is_dirty = _git(folder)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node() or NONE,
        **{name: _version(name) for name in _PACKAGES},
        "sqlite": sqlite_version(),
        "campaign_sha256": campaign.fingerprint,
        "seed": str(campaign.seed),
        "git_commit": commit,
        "git_dirty": is_dirty,
        "command": command_line(sys.argv, campaign),
        "user": _user(),
        "folder": str(folder),
    }


def command_line(words: list[str], campaign: Campaign) -> str:
    """The words of a command without the secrets in them."""
    shown: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_value = _OPTION.fullmatch(before) and not word.startswith("-")
        shown.append(_HIDDEN if is_value else _without_secrets(word, campaign))
    text = " ".join(shown)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _without_secrets(word: str, campaign: Campaign) -> str:
    for source in campaign.sources.values():
        for variable in variables(source.settings).values():
            value = os.environ.get(variable, "")
            word = word.replace(value, f"<{variable}>") if len(value) >= MIN_LENGTH else word
    return _IN_URL.sub(rf"\1{_HIDDEN}@", _ASSIGNED.sub(rf"\1{_HIDDEN}", mask(word)[:_LONGEST]))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have no such user
        return NONE


def _git(folder: Path) -> tuple[str, str]:
    """The commit that a folder is at, and whether files differ from it; code that was never added counts."""
    commit = _asked(folder, "rev-parse", "HEAD")
    if commit is None:
        return NONE, NONE
    changed = _asked(folder, "status", "--porcelain", "--untracked-files=no")
    new = _asked(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py", "*.yaml", "*.yml")
    return commit, "unknown" if changed is None or new is None else "yes" if changed or new else "no"


def _asked(folder: Path, *words: str) -> str | None:
    """What git says, or None: no git, no repository, no commit, somebody else's folder, no answer in time."""
    # What a repository's own settings would have run is not run: it may have come from anywhere.
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words]
    outside = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        said = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_S,
            stdin=subprocess.DEVNULL,
            env={**outside, "GIT_OPTIONAL_LOCKS": "0"},
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()
