"""The one check after the split: whether the validation set is large enough to choose by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autosft.counting import counted
from autosft.data.data import Data
from autosft.data.finding import Finding, Severity
from autosft.data.split import ASSUMED_ACCURACY, LARGEST_GOOD_ERROR, standard_error
from autosft.task import Output, Task

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind


def check_split(kind: TaskKind, task: Task, data: Data) -> tuple[Finding, ...]:
    """Finds a validation set too small to choose by: a standard error of more than two points."""
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
