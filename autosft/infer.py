"""From a sentence and columns to a Task, with the reasons in words and the runner-up reading.

The parts live in `autosft.inference`. No language model and no network are used, so the same words and columns always
give the same Task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa

from autosft.data.source import Source
from autosft.errors import TaskError, did_you_mean, explain
from autosft.inference.answers import choose_answer
from autosft.inference.columns import Role, given_away, name_words, profile
from autosft.inference.extractive import refuse_extractive, refuse_preferences
from autosft.inference.kinds import read_kind
from autosft.inference.labels import with_labels
from autosft.inference.metric import Labels, choose_metric
from autosft.inference.outputs import refuse_loose_tags
from autosft.inference.pairs import with_compared_side
from autosft.inference.reading import Columns, Reading
from autosft.inference.sentence import Sentence
from autosft.task import AnswerFunction, Metric, Output, Task
from autosft.tasks import kind as kind_of
from autosft.tasks.base import TaskKind


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
    answer: str | AnswerFunction | None = None,
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
        kind: Kind of task, a key of `autosft.tasks.KINDS`, instead of the inferred one. "text-classification" then also
            takes decimal numbers and combinations of labels as classes.
        answer: As in Task. Left out, the marks of well-known data sets are looked for where exact match decides.

    Raises:
        TaskError: A named column, metric, label or kind does not exist; the target cannot be learned; or two readings
            are close, with both of them and the argument that settles it.
    """
    named = None if kind is None else kind_of(kind)
    table, sentence = source.train, Sentence(description)
    columns = _check_names(table, target=target, inputs=inputs, group=group, time=time)
    profiles = with_compared_side(profile(table)) if sentence.compares() else profile(table)
    refuse_extractive(profiles, sentence, target)
    refuse_preferences(profiles, sentence, target)
    free = [column.name for column in profiles if column.name not in (target, *(columns or ()), group, time)]
    aside = _set_aside(free, sentence)
    others = frozenset([*(name for name in (group, time) if name), *aside])
    try:
        reading = read_kind(Columns(profiles, table, sentence, target, columns, others, named))
    except TaskError as error:
        if all(column.role in (Role.TEXT, Role.ID) for column in profiles):
            # Nothing but tags that look like texts could have been meant.
            for column in profiles:
                refuse_loose_tags(column)
        parts = {"group": group, "time": time}
        if not (given := given_away(profiles, parts, aside)):
            raise
        fix = (
            "name what to read with inputs=['...']"
            if aside
            else "give another column there, or leave that argument out"
        )
        told = explain(wrong=f"no column is left to read: {given}", expected="something to read beside it", fix=fix)
        raise TaskError(told) from error
    kind_of_task = named or kind_of(reading.kind)
    task = Task(
        kind=kind_of_task.name,
        description=description,
        input_columns=reading.inputs,
        target_column=reading.target,
        target_columns=reading.target_columns,
        metric=Metric(next(iter(kind_of_task.metrics))),
        group_column=group,
        time_column=time,
    )
    tables = [source.splits[name] for name in ("train", "validation") if name in source.splits]
    task = with_labels(kind_of_task, task, tables)
    measure, metric_reasons = choose_metric(
        kind_of_task, metric, positive, _summary(kind_of_task, reading, task), sentence
    )
    reader, answer_reasons = choose_answer(kind_of_task, task, answer, measure, table)
    kind_reasons = _kind_reason(kind_of_task, named is not None)
    left_out = tuple(f"'{name}' is left out: the sentence says '{said}'" for name, said in aside.items())
    reasons = (*reading.reasons, *left_out, *kind_reasons, *metric_reasons, *answer_reasons)
    return replace(
        task,
        metric=measure,
        answer=reader,
        reasons=tuple(reason for reason in reasons if reason),
        runner_up=reading.runner_up,
    )


def _check_names(
    table: pa.Table, *, target: str | None, inputs: Sequence[str] | None, group: str | None, time: str | None
) -> tuple[str, ...] | None:
    """Returns the given input columns, after checking that every named column exists and has one part."""
    columns = None if inputs is None else (inputs,) if isinstance(inputs, str) else tuple(dict.fromkeys(inputs))
    if not table.num_rows:
        _reject("the training rows are empty", "at least a few rows", "check the file or the filter")
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


def _set_aside(names: Sequence[str], sentence: Sentence) -> dict[str, str]:
    """Returns the columns that the sentence leaves out, with the words by which it does."""
    found = {name: said for name in names if (said := sentence.sets_aside(name))}
    words = {name: set(name_words(name)) for name in found}
    # "Ignore the review title" leaves the review.
    whole = [words[name] for name in found if words[name] <= set(sentence.words)]
    return {name: said for name, said in found.items() if not any(words[name] < longer for longer in whole)}


def _kind_reason(kind: TaskKind, named: bool) -> tuple[str, ...]:
    return (f"the kind is {kind.name}: " + ("you named it" if named else "it follows from what is read and predicted"),)


def _summary(kind: TaskKind, reading: Reading, task: Task) -> Labels:
    column = reading.column
    if kind.output is not Output.LABEL or column is None:
        return Labels()
    return Labels(task.labels, column.bottom, column.top_count / column.num_values)


def _reject(wrong: str, expected: str, fix: str) -> None:
    raise TaskError(explain(wrong=wrong, expected=expected, fix=fix))
