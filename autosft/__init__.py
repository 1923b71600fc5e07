"""autosft: a sentence and a dataset in, a proven fine-tuned model out.

The public names are loaded when they are first used, so that `import autosft` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autosft.api import fit, load, plan, resume, review, sync
    from autosft.batch.many import fit_many
    from autosft.budget import Budget
    from autosft.data.data import Data
    from autosft.errors import (
        AutosftError,
        BaseModelError,
        DataError,
        MissingExtraError,
        PlanError,
        RunFolderError,
        SearchFailed,
        TaskError,
        TrackerError,
        TrialFailed,
    )
    from autosft.planning.plan import Plan
    from autosft.predictor import Predictor
    from autosft.result import Result
    from autosft.task import Metric, Task

__version__ = "0.1.0"

_PLACES = {
    "autosft.api": ("fit", "plan", "resume", "load", "review", "sync"),
    "autosft.batch.many": ("fit_many",),
    "autosft.budget": ("Budget",),
    "autosft.data.data": ("Data",),
    "autosft.errors": (
        "AutosftError",
        "BaseModelError",
        "DataError",
        "MissingExtraError",
        "PlanError",
        "RunFolderError",
        "SearchFailed",
        "TaskError",
        "TrackerError",
        "TrialFailed",
    ),
    "autosft.planning.plan": ("Plan",),
    "autosft.predictor": ("Predictor",),
    "autosft.result": ("Result",),
    "autosft.task": ("Metric", "Task"),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [  # noqa: RUF022 - in the order in which a user meets them
    "fit",
    "fit_many",
    "plan",
    "resume",
    "load",
    "review",
    "sync",
    "Budget",
    "Data",
    "Metric",
    "Plan",
    "Predictor",
    "Result",
    "Task",
    "AutosftError",
    "BaseModelError",
    "DataError",
    "MissingExtraError",
    "PlanError",
    "RunFolderError",
    "SearchFailed",
    "TaskError",
    "TrackerError",
    "TrialFailed",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'autosft' has no attribute {name!r}")
    module = importlib.import_module(_MODULE_OF[name])
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
