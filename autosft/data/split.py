"""Which rows train, which validate, and which are set aside as proof.

Fold assignment lives in `autosft.data.folds`; writing the parts to disk in `autosft.data.data`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.counting import counted
from autosft.data.folds import connected, stratified
from autosft.data.source import Source
from autosft.data.texts import as_text, codes, shortened
from autosft.errors import DataError, did_you_mean, explain
from autosft.task import Output, Task

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind

#: Proof rows are set aside from this many training rows on.
MIN_ROWS_FOR_PROOF = 2_000
PROOF_SHARE = 0.15
MAX_PROOF_ROWS = 5_000
#: 800 rows know an accuracy near 0.9 to one point, so a fold need not be larger until it is a tenth of the rows.
_ENOUGH_VALIDATION_ROWS = 800
MAX_VALIDATION_ROWS = 2_000
MIN_FOLDS, MANY_FOLDS = 5, 10
#: Fold numbers are int8. With more rows than 100 full folds, the rest always trains.
_MAX_FOLDS = 100
#: Standard errors are stated for a model that is right on nine rows of ten; at a half they are 1.7 times as large.
ASSUMED_ACCURACY = 0.9
#: Above two points the best of a few trials is chosen by luck as much as by skill.
LARGEST_GOOD_ERROR = 0.02

_YEAR_FIRST = r"^\s*[0-9]{4}([-/.]?[0-9]{2})"

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class SplitPlan:
    """How the rows were split, in numbers and in words.

    Attributes:
        num_folds: Folds of the search part; fold 0 is the validation set.
        reasons: Why it was split this way, one sentence each.
    """

    num_folds: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one part.

    Attributes:
        table: The rows, with the source's columns.
        rows: Position of each row in the split that it was read from, shape (rows,).
        folds: Fold number, -1 for rows that are always trained on (and all held-out rows), shape (rows,).
    """

    table: pa.Table
    rows: Numbers
    folds: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Split:
    """The parts: what the search may see, and what it may not.

    Attributes:
        search: Rows to train and validate on.
        held_out: "test" or "proof" with its rows, or None.
        plan: How and why.
    """

    search: Part
    held_out: tuple[str, Part] | None
    plan: SplitPlan


def split(kind: TaskKind, task: Task, source: Source, *, seed: int) -> Split:
    """Splits the rows.

    Given splits are kept. Otherwise rows are stratified by label; rows with the same text (case and white space apart)
    or the same value of the task's group column stay together; with a time column the latest rows validate and the
    latest of all are proof; among rows of one time the seed decides.

    Args:
        kind: The task's kind, which tells rows with the same input and what to stratify by.
        task: The task.
        source: The data as the audit left it.
        seed: The same seed gives the same split.

    Raises:
        DataError: A column is missing, or no row can be validated on.
    """
    train = source.train
    _require_columns(task, train)
    rng = np.random.default_rng(seed)
    reasons: list[str] = []
    labels = kind.strata(task, train)
    units = _units(kind, task, train, reasons)
    times = _unit_times(task, train, units, reasons)

    proof = np.zeros(len(train), dtype=bool)
    if "test" in source.splits:
        reasons.append(f"The given test set ({counted(source.splits['test'].num_rows, 'row')}) is kept for the end.")
    else:
        free = _not_in_validation(task, source, units, reasons)
        proof[free] = _proof(labels[free], units[free], None if times is None else times[free], rng, reasons)
    rows = np.flatnonzero(~proof)
    if "validation" in source.splits:
        search = _with_given_validation(source, rows, reasons)
    else:
        fold = _folds(labels[rows], units[rows], None if times is None else times[rows], rng, reasons)
        search = Part(train.take(pa.array(rows)), source.places("train")[rows], fold)
    held_out = _held_out(source, np.flatnonzero(proof))
    return Split(search, held_out, _plan(kind, task, search, reasons))


def standard_error(num_rows: int) -> float:
    """Returns the binomial standard error of an accuracy near 0.9 on this many rows, as a share; inf for none."""
    return math.sqrt(ASSUMED_ACCURACY * (1 - ASSUMED_ACCURACY) / num_rows) if num_rows else math.inf


def num_folds_for(num_rows: int) -> int:
    """Returns the number of folds: a fold is a fifth of small data, a tenth of large, and at most 2,000 rows."""
    by_precision = min(MANY_FOLDS, num_rows // _ENOUGH_VALIDATION_ROWS)
    return max(MIN_FOLDS, by_precision, math.ceil(num_rows / MAX_VALIDATION_ROWS))


def _require_columns(task: Task, table: pa.Table) -> None:
    targets = task.target_columns or (task.target_column,)
    wanted = [*task.input_columns, *targets, task.group_column, task.time_column]
    for name in wanted:
        if name is not None and name not in table.column_names:
            raise DataError(
                explain(
                    wrong=f"column '{name}' is missing (found: {', '.join(table.column_names)})",
                    expected="every column that the task names",
                    fix=did_you_mean(name, table.column_names),
                )
            )


def _units(kind: TaskKind, task: Task, train: pa.Table, reasons: list[str]) -> Numbers:
    texts = pc.utf8_lower(kind.identities(task, train))
    # Rows without any text have nothing in common.
    keys = [codes(pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts))]
    if task.group_column is not None:
        keys.append(codes(as_text(train.column(task.group_column))))
        reasons.append(f"Rows that share a value of '{task.group_column}' stay on one side.")
    units = connected(keys, len(train))
    num_units = len(np.unique(units))
    if task.group_column is None and num_units < len(train):
        repeats = len(train) - num_units
        repeat = "repeats" if repeats == 1 else "repeat"
        reasons.append(f"Rows with the same text stay on one side ({repeats:,} {repeat} an earlier one).")
    return units


def _unit_times(task: Task, train: pa.Table, units: Numbers, reasons: list[str]) -> Numbers | None:
    """Returns the rank in time of each row's unit, by the latest of its rows.

    Rows without a time (null, NaN) count as the oldest.
    """
    if task.time_column is None:
        return None
    column = train.column(task.time_column).combine_chunks()
    _require_sortable(task.time_column, column)
    rank = pc.rank(column, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    rank[column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)] = 0
    latest = np.zeros(int(units.max(initial=0)) + 1, np.int64)
    np.maximum.at(latest, units, rank)
    reasons.append(f"The latest rows by '{task.time_column}' are used to judge, earlier ones to train.")
    return latest[units]


def _require_sortable(name: str, column: pa.Array) -> None:
    """Dates as text only sort by time when the year comes first."""
    if pa.types.is_temporal(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return
    if pa.types.is_string(column.type):
        wrong = column.filter(pc.invert(pc.match_substring_regex(column, _YEAR_FIRST))).drop_null()
        if not len(wrong):
            return
        found = f"'{shortened(wrong[0].as_py(), limit=40)}'"
    else:
        found = f"values of type {column.type}"
    raise DataError(
        explain(
            wrong=f"the time column '{name}' holds {found}, which cannot be put in order of time",
            expected="numbers, timestamps, or text that starts with year and month, such as 2024-03-31",
            fix="convert the column, or split without time=",
        )
    )


def _proof(
    labels: Numbers, units: Numbers, times: Numbers | None, rng: np.random.Generator, reasons: list[str]
) -> NDArray[np.bool_]:
    num_rows = len(labels)
    if num_rows < MIN_ROWS_FOR_PROOF:
        reasons.append(
            f"No proof rows are set aside from {counted(num_rows, 'row')} (from {MIN_ROWS_FOR_PROOF:,} on they are): "
            "training needs them more, so the final score is one that was selected on."
        )
        return np.zeros(num_rows, dtype=bool)
    wanted = min(round(PROOF_SHARE * num_rows), MAX_PROOF_ROWS)
    if times is not None:
        proof = _latest(units, times, wanted, rng, "the proof begins", reasons)
    else:
        # Small parts make up any share. The last ones, because large groups come to lie in the first.
        num_parts = max(40, num_rows // 1_000)
        parts = stratified(labels, units, num_folds=num_parts, rng=rng, every_class_in_first=False)
        proof = (parts >= num_parts - round(wanted / num_rows * num_parts)) & ~_most_rows(units)
    proof &= ~_holding_whole_class(labels, units, proof)
    num_proof = int(proof.sum())
    are = "is" if num_proof == 1 else "are"
    reasons.append(f"{counted(num_proof, 'row')} {are} set aside as proof, which the search never sees.")
    return proof


def _not_in_validation(task: Task, source: Source, units: Numbers, reasons: list[str]) -> Numbers:
    """Returns the positions of rows that no group ties to the given validation set, which the search chooses by."""
    if task.group_column is None or "validation" not in source.splits:
        return np.arange(len(units))
    known = as_text(source.splits["validation"].column(task.group_column)).drop_null().unique()
    shared = pc.is_in(as_text(source.train.column(task.group_column)), value_set=known)
    tied = np.isin(units, units[shared.to_numpy(zero_copy_only=False)])
    if tied.any():
        one = int(tied.sum()) == 1
        why = f"{'its value' if one else 'their values'} of '{task.group_column}' {'is' if one else 'are'} also"
        only = f"{counted(int(tied.sum()), 'row')} only {'trains' if one else 'train'}"
        reasons.append(f"{only}: {why} in the given validation set.")
    return np.flatnonzero(~tied)


def _latest(
    units: Numbers, times: Numbers, wanted: int, rng: np.random.Generator, what_begins: str, reasons: list[str]
) -> NDArray[np.bool_]:
    """Returns a mask of the latest whole units: at most `wanted` rows, or one unit where all of the latest have more.

    A time lies on one side as a whole, unless less than half of what is wanted is later: of a year that holds most
    rows, as many units as there is room for are drawn. The unit with most of the rows is none of them.
    """
    free = ~_most_rows(units)
    if not free.any():
        return free
    begins = np.sort(times[free])[-wanted:][0]
    latest, at_begin = free & (times > begins), free & (times == begins)
    room = wanted - int(latest.sum())
    if at_begin.sum() > room and latest.sum() >= wanted / 2:
        return np.asarray(latest)
    chosen = at_begin & np.isin(units, _drawn(units[at_begin], room, rng, at_least_one=not latest.any()))
    if 0 < chosen.sum() < at_begin.sum():
        share = f"{int(at_begin.sum()):,} rows share the time at which {what_begins}"
        reasons.append(f"{share}; the seed drew {int(chosen.sum()):,} of them.")
    return np.asarray(latest | chosen)


def _drawn(units: Numbers, room: int, rng: np.random.Generator, *, at_least_one: bool) -> list[int]:
    """Draws units for which there is room, in rows; the smallest one where there is none for any but one is needed."""
    names, sizes = np.unique(units, return_counts=True)
    drawn: list[int] = []
    for at in rng.permutation(len(names)).tolist():
        if sizes[at] <= room:
            drawn.append(int(names[at]))
            room -= int(sizes[at])
    return drawn if drawn or not at_least_one else [int(names[np.argmin(sizes)])]


def _most_rows(units: Numbers) -> NDArray[np.bool_]:
    """Returns a mask of the rows of the unit that has more than half of them, if any: it must be trained on."""
    return np.asarray((2 * np.bincount(units) > len(units))[units])


def _holding_whole_class(labels: Numbers, units: Numbers, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns a mask of the chosen rows whose units would leave a class without any other row."""
    num_labels = int(labels.max(initial=0)) + 1
    without = np.bincount(labels[~chosen], minlength=num_labels) == 0
    emptied = units[chosen & without[labels]]
    return np.asarray(chosen & np.isin(units, emptied))


def _folds(
    labels: Numbers, units: Numbers, times: Numbers | None, rng: np.random.Generator, reasons: list[str]
) -> NDArray[np.int8]:
    if times is not None:
        wanted = max(1, round(len(units) / num_folds_for(len(units))))
        validation = _latest(units, times, wanted, rng, "validation begins", reasons)
        folds = np.where(validation & ~_holding_whole_class(labels, units, validation), 0, -1)
    else:
        num_units = len(np.unique(units))
        num_folds = min(num_folds_for(len(labels)), num_units)
        folds = stratified(labels, units, num_folds=num_folds, rng=rng, every_class_in_first=True)
        for fold in range(min(num_folds, _MAX_FOLDS)):
            folds[_holding_whole_class(labels, units, folds == fold)] = -1
        folds[(folds >= _MAX_FOLDS) | _most_rows(units)] = -1
        if len(np.unique(labels)) > 1:
            reasons.append("Every fold has the same mix of targets, as far as there are rows for it.")
    _require_validation(folds)
    numbers = np.unique(folds[folds >= 0])
    return np.where(folds < 0, -1, np.searchsorted(numbers, folds)).astype(np.int8)


def _require_validation(folds: Numbers) -> None:
    if (folds >= 0).any():
        return
    raise DataError(
        explain(
            wrong=f"of {counted(len(folds), 'row')} none can be set aside for validation: every class has a single "
            "row, or all its rows share one text or group",
            expected="at least two independent rows of some class",
            fix="add rows, name another group= column, or pass validation rows of your own",
        )
    )


def _with_given_validation(source: Source, rows: Numbers, reasons: list[str]) -> Part:
    train, validation = source.train, source.splits["validation"]
    reasons.append(f"The given validation set ({counted(validation.num_rows, 'row')}) is kept.")
    table = pa.concat_tables([train.take(pa.array(rows)), validation.select(train.column_names)])
    positions = np.concatenate([source.places("train")[rows], source.places("validation")])
    folds = np.repeat(np.array([-1, 0], np.int8), [len(rows), validation.num_rows])
    return Part(table, positions, folds)


def _held_out(source: Source, proof: Numbers) -> tuple[str, Part] | None:
    if "test" in source.splits:
        test = source.splits["test"]
        return "test", _outside_folds(test, source.places("test"))
    if not len(proof):
        return None
    return "proof", _outside_folds(source.train.take(pa.array(proof)), source.places("train")[proof])


def _outside_folds(table: pa.Table, rows: Numbers) -> Part:
    return Part(table, rows, np.full(len(rows), -1, np.int8))


def _plan(kind: TaskKind, task: Task, search: Part, reasons: list[str]) -> SplitPlan:
    num_validation = int((search.folds == 0).sum())
    known = ""
    if kind.output is Output.LABEL:
        error = 100 * standard_error(num_validation)
        known = f": an accuracy near {ASSUMED_ACCURACY:.0%} is known to {error:.1f} points (one standard error)"
        if task.group_column is not None:
            known += f", or less well where rows of one '{task.group_column}' are right or wrong together"
    validate = "validates" if num_validation == 1 else "validate"
    reasons.append(f"{num_validation:,} of {len(search.folds):,} rows {validate}{known}.")
    return SplitPlan(int(search.folds.max()) + 1, tuple(reasons))
