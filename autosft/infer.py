"""From a sentence and columns to a Task, with the reasons in words and the runner-up reading.

The parts live in `autosft.inference`. No language model and no network are used, so the same words and columns always
give the same Task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from autosft.data.source import Source
from autosft.data.texts import label_texts
from autosft.errors import TaskError, did_you_mean, explain
from autosft.inference.columns import ColumnProfile, profile
from autosft.inference.inputs import InputsReading, choose_inputs
from autosft.inference.metric import Labels, choose_metric
from autosft.inference.sentence import Sentence
from autosft.inference.target import TargetReading, check_target, choose_target
from autosft.task import Metric, Task
from autosft.tasks import kind as kind_of
from autosft.tasks.label_values import label_type, sorted_labels

_DEFAULT_KIND = "text-classification"


def infer(
    description: str,
    source: Source,
    *,
    target: str | None = None,
    inputs: Sequence[str] | None = None,
    metric: str | Metric | Callable[..., float] | None = None,
    positive: object | None = None,
    group: str | None = None,
    time: str | None = None,
    kind: str | None = None,
) -> Task:
    """Works out what is to be predicted from which columns, and by which metric.

    Args:
        description: The user's sentence; it may be empty or in any language, and then the columns decide alone.
        source: The data as it was read. Only training and validation rows are looked at.
        target: Column to predict, instead of the inferred one.
        inputs: Columns to read, instead of the inferred ones.
        metric: A metric's name, a Metric, or a function called as `function(targets, predictions)` on labels in their
            original type, where greater is better.
        positive: The label that one-sided metrics (F1, precision, recall, average precision) are about.
        group: Column whose values never stand on both sides of a split; it is not an input.
        time: Column that orders the rows; it is not an input.
        kind: Kind of task, a key of `autosft.tasks.KINDS`. Named, it also takes decimal numbers and combinations of
            labels as classes.

    Raises:
        TaskError: A named column, metric, label or kind does not exist; the target cannot be learned as one label per
            row; or two readings are close, with both of them and the argument that settles it.
    """
    kind_of_task = kind_of(kind or _DEFAULT_KIND)
    table, sentence = source.train, Sentence(description)
    columns = _check_names(table, target=target, inputs=inputs, group=group, time=time)
    profiles = profile(table)
    others = {name for name in (group, time) if name}
    reading, runner_up = _target(profiles, sentence, table, target, excluded=others | set(columns or ()))
    check_target(reading.column, kind_given=kind is not None)
    chosen = _inputs(profiles, sentence, columns, excluded=others | {reading.column.name})
    texts = _labels(source, reading.column.name)
    measure, metric_reasons = choose_metric(kind_of_task, metric, positive, _summary(reading.column, texts), sentence)
    reasons = (_target_reason(reading, given=target is not None), chosen.reason, *metric_reasons)
    return Task(
        kind=kind_of_task.name,
        description=description,
        input_columns=chosen.columns,
        target_column=reading.column.name,
        metric=measure,
        labels=texts,
        label_type=label_type(table.schema.field(reading.column.name).type),
        group_column=group,
        time_column=time,
        reasons=tuple(reason for reason in reasons if reason),
        runner_up=runner_up.describe() if runner_up else chosen.runner_up,
    )


def _check_names(
    table: pa.Table, *, target: str | None, inputs: Sequence[str] | None, group: str | None, time: str | None
) -> tuple[str, ...] | None:
    """Returns the given input columns, after checking that every named column exists and has one part."""
    columns = None if inputs is None else (inputs,) if isinstance(inputs, str) else tuple(dict.fromkeys(inputs))
    if not table.num_rows:
        _reject("the training rows are empty", "at least a few rows of each class", "check the file or the filter")
    if columns == ():
        _reject("inputs= is empty", "at least one column to read", "name a column, or leave inputs= out")
    parts = {"target": (target,), "inputs": columns or (), "group": (group,), "time": (time,)}
    for part, names in parts.items():
        for name in names:
            if name is not None and name not in table.column_names:
                wrong = f"there is no column '{name}' for {part}="
                _reject(wrong, "a column of the data", did_you_mean(name, table.column_names))
            if name is not None and part != "target" and name == target:
                wrong = f"column '{name}' is named as target= and in {part}="
                fix = f"leave it out of {part}=, or predict another column"
                _reject(wrong, "a target that the model is not given", fix)
    return columns


def _target(
    profiles: list[ColumnProfile], sentence: Sentence, table: pa.Table, target: str | None, *, excluded: set[str]
) -> tuple[TargetReading, TargetReading | None]:
    if target is None:
        return choose_target(profiles, sentence, table, excluded=excluded)
    column = next(column for column in profiles if column.name == target)
    return TargetReading(column, 0.0, ()), None


def _target_reason(reading: TargetReading, *, given: bool) -> str:
    column = reading.column
    why = "you named it" if given else " and ".join(reading.reasons) or "of all columns it looks most like labels"
    reason = f"'{column.name}' is the target ({column.num_distinct:,} labels): {why}"
    numbers = not column.is_string and column.num_distinct > 2
    return reason + ("; its numbers are taken as classes, without their order" if numbers else "")


def _inputs(
    profiles: list[ColumnProfile], sentence: Sentence, columns: tuple[str, ...] | None, *, excluded: set[str]
) -> InputsReading:
    if columns is not None:
        return InputsReading(columns, f"{', '.join(map(repr, columns))} as the input: you named it")
    return choose_inputs(profiles, sentence, excluded=excluded)


def _labels(source: Source, target: str) -> tuple[str, ...]:
    texts = [label_texts(source.splits[name][target]) for name in ("train", "validation") if name in source.splits]
    return sorted_labels(pa.concat_arrays(texts))


def _summary(column: ColumnProfile, labels: tuple[str, ...]) -> Labels:
    return Labels(labels, column.bottom, column.top_count / column.num_values)


def _reject(wrong: str, expected: str, fix: str) -> None:
    raise TaskError(explain(wrong=wrong, expected=expected, fix=fix))
