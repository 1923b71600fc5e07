"""The checks after the split: whether there are rows enough to choose by, and groups enough to judge by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from autosft.counting import counted
from autosft.data.data import Data, Rows
from autosft.data.finding import Finding, Severity
from autosft.data.split import ASSUMED_ACCURACY, LARGEST_GOOD_ERROR, standard_error
from autosft.task import Output, Task

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind

#: With fewer groups than this a bootstrap over them, in which so few things are drawn, is too sure of itself.
_FEW_GROUPS = 10


def check_split(kind: TaskKind, task: Task, data: Data) -> tuple[Finding, ...]:
    """Finds a validation set too small to choose by, and rows to judge by that are of very few groups."""
    judging = {"validation": data.training(0)[1], **dict([data.held_out() or ("test", None)])}
    groups = [_few_groups(task, data, name, rows) for name, rows in judging.items() if rows is not None]
    return (*_small_validation(kind, task, data), *(finding for finding in groups if finding is not None))


def _small_validation(kind: TaskKind, task: Task, data: Data) -> tuple[Finding, ...]:
    """Finds a standard error of more than two points."""
    _, validation = data.training(0)
    num_rows = len(validation) if validation is not None else 0
    error = standard_error(num_rows)
    # An accuracy is all that theory knows the error of; a sequence holds many labels, and a text many tokens.
    if error <= LARGEST_GOOD_ERROR or kind.output is not Output.LABEL:
        return ()
    # Rows of one group may be right or wrong together, so that there is less to tell by than there are rows.
    least = "" if task.group_column is None else "at least "
    enough = math.ceil(ASSUMED_ACCURACY * (1 - ASSUMED_ACCURACY) / LARGEST_GOOD_ERROR**2)
    all_folds = f"scores over all {data.num_folds} folds are surer; " if data.num_folds > 1 else ""
    return (
        Finding(
            "small-validation",
            Severity.WARNING,
            f"The validation set has {counted(num_rows, 'row')}: an accuracy of {ASSUMED_ACCURACY:.0%} on it has a "
            f"standard error of {least}{100 * error:.1f} points, so close candidates for '{task.target_column}' cannot "
            "be told apart.",
            num_rows,
            action=f"{all_folds}{enough} validation rows bring it to {100 * LARGEST_GOOD_ERROR:.0f} points",
        ),
    )


def _few_groups(task: Task, data: Data, name: str, rows: Rows) -> Finding | None:
    groups = rows.groups()
    if groups is None or not len(groups):
        return None
    num_groups = len(np.unique(groups))
    if num_groups >= _FEW_GROUPS:
        return None
    # Held-out rows know their groups by codes of their own, which tell nothing of those that train.
    whole = data.training(None)[0].groups() if name == "validation" else None
    of_all = "" if whole is None else f" (of {len(np.unique(whole))})"
    action = "rows of more groups would tell"
    if num_groups == 1:
        message = (
            f"The {name} rows are of one group of '{task.group_column}' alone{of_all}: how well a model does on other "
            "groups is not known, and intervals are over rows."
        )
        return Finding("few-groups", Severity.WARNING, message, num_groups, action=action)
    message = (
        f"The {name} rows are of {num_groups} groups of '{task.group_column}'{of_all}: how well a model does on other "
        "groups is known roughly at best."
    )
    return Finding("few-groups", Severity.INFO, message, num_groups, action=action)
