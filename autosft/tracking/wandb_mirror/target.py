"""Where on Weights & Biases a search is kept: entity and project; whether there is a key, or why to stay offline."""

from __future__ import annotations

import importlib.util
import netrc
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from autosft.errors import MissingExtraError, PlanError, did_you_mean, explain

#: Names that `tracker=` may have.
TRACKERS = ("wandb",)

DEFAULT_PROJECT = "autosft"
_DEFAULT_URL = "https://api.wandb.ai"


@dataclass(frozen=True)
class Target:
    """Where a search is kept.

    Attributes:
        entity: User or team; None for the key's own.
        project: Name of the project.
    """

    entity: str | None
    project: str

    @staticmethod
    def parse(words: str) -> Target:
        """Reads "wandb", "wandb:PROJECT" or "wandb:ENTITY/PROJECT"; WANDB_ENTITY and WANDB_PROJECT fill what is left.

        Raises:
            PlanError: The words are something else.
        """
        name = words.partition(":")[0]
        if name not in TRACKERS:
            fix = did_you_mean(name, TRACKERS)
            raise PlanError(explain(wrong=f"no tracker is called '{name}'", expected="a known tracker", fix=fix))
        parts = words.partition(":")[2].split("/") if ":" in words else []
        if len(parts) > 2 or any(not part.strip() for part in parts):
            expected = "wandb, wandb:PROJECT or wandb:ENTITY/PROJECT"
            fix = "for example tracker='wandb:my-team/spam'"
            raise PlanError(explain(wrong=f"the tracker '{words}' cannot be read", expected=expected, fix=fix))
        project = parts[-1] if parts else os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT
        entity = parts[0] if len(parts) == 2 else os.environ.get("WANDB_ENTITY") or None
        return Target(entity, project)


def server() -> str:
    """Returns the address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL") or _DEFAULT_URL


def has_key() -> bool:
    """Whether a key for that server is known; reads it from where W&B does, and keeps it nowhere."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(server()).hostname or server()) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def why_offline() -> str | None:
    """Returns why nothing can be sent now, None where it can."""
    if os.environ.get("WANDB_MODE") in {"offline", "dryrun"}:
        return "WANDB_MODE is offline"
    return None if has_key() else f"there is no key for {server()}"


def is_disabled() -> bool:
    """Whether the user switched W&B off for all programs."""
    return os.environ.get("WANDB_MODE") == "disabled"


def require_wandb() -> None:
    """Raises MissingExtraError unless W&B's packages are installed."""
    for package in ("wandb", "wandb_workspaces"):
        if importlib.util.find_spec(package) is None:
            name = package.replace("_", "-")
            fix = "pip install 'autosft[wandb]'"
            raise MissingExtraError(explain(wrong=f"tracker 'wandb' needs {name}", expected=name, fix=fix))
