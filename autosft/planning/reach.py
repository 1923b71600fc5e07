"""How many rows a budget can reach: what no machine of its size would read in the time is not looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autosft.budget import Budget
from autosft.data.data import Data
from autosft.data.split import ASSUMED_ACCURACY, standard_error
from autosft.planning.plan import Arm
from autosft.search.settings import Machine
from autosft.task import Output, Task
from autosft.tasks import kind as task_kind

#: Rows a second beyond what a small encoder embeds, on a core and on a GPU. Two cores were measured at 340 short rows;
#: a GPU is taken for eighty cores. More than that is generous, so that only rows out of reach are left out.
_ROWS_A_CORE, _ROWS_A_GPU = 250.0, 20_000.0

#: As many rows are always read: that takes a second or two.
FEWEST_ROWS = 5_000

#: Share of the time left that one pass over the validation rows may take, and rows that are looked at all the same.
_VALIDATION_SHARE, _FEWEST_VALIDATION = 0.1, 200


def most_rows(budget: Budget, machine: Machine) -> int | None:
    """Returns how many training rows are worth reading, None without a limit of time."""
    seconds = budget.wall_seconds(machine.gpus)
    if seconds is None:
        return None
    return max(FEWEST_ROWS, round(seconds * (machine.cpus * _ROWS_A_CORE + machine.gpus * _ROWS_A_GPU)))


def with_quick_validation(
    task: Task, data: Data, arms: Sequence[Arm], seconds_left: float | None
) -> tuple[Data, tuple[str, ...]]:
    """Returns the data with as many validation rows as can be predicted again and again in the time, and why.

    Args:
        arms: With their cost, measured or estimated.
    """
    validation = data.training(0)[1]
    # What reads no model's features is done with any number of rows in no time, and says nothing of the others.
    slow = [arm for arm in arms if arm.base_model.num_parameters] or arms
    rates = [arm.cost.predict_rows_per_second for arm in slow if arm.cost]
    if seconds_left is None or validation is None:
        return data, ()
    most = max(_FEWEST_VALIDATION, round(_VALIDATION_SHARE * seconds_left * max(rates)))
    if len(validation) <= most:
        return data, ()
    told = f"Of the {len(validation):,} validation rows a random {most:,} are looked at, since all would take too long"
    if task_kind(task.kind).output is Output.LABEL:
        told += f": an accuracy near {ASSUMED_ACCURACY:.0%} is known to {100 * standard_error(most):.1f} points"
    return replace(data, most_validation=most), (f"{told}.",)
