"""Which kind of task it is: what columns give away by their type comes first, then what the target looks like.

What a column looks like is told by `columns`, the first half by `shapes`; which column is predicted by `target`, and
what that makes of it by `outputs`; what is read for it by `inputs_for`.
"""

from __future__ import annotations

import pyarrow.compute as pc

from autosft.errors import TaskError, explain
from autosft.inference.columns import TEXT_ROLES, ColumnProfile, Role
from autosft.inference.inputs import InputsReading
from autosft.inference.inputs_for import inputs_for
from autosft.inference.outputs import check_labels, check_numbers, output_of, refuse_list
from autosft.inference.points import TargetReading
from autosft.inference.reading import Columns, Reading
from autosft.inference.shapes import by_shape, refuse_shape
from autosft.inference.target import choose_target
from autosft.task import Input, Output
from autosft.tasks.label_sets import is_list

#: Kinds by what is read and given back, where the target tells the kind.
_KINDS = {
    (Input.TEXT, Output.LABEL): "text-classification",
    (Input.TEXT, Output.LABELS): "multi-label-classification",
    (Input.TEXT, Output.NUMBER): "text-regression",
    (Input.TEXT, Output.TEXT): "causal-lm",
    (Input.TEXT_PAIR, Output.LABEL): "text-pair-classification",
    (Input.TEXT_PAIR, Output.NUMBER): "text-pair-regression",
    (Input.IMAGE, Output.LABEL): "image-classification",
}
#: What a target may look like where its kind was named.
_ROLES = {
    Output.LABEL: frozenset({Role.LABEL, Role.LABELS, Role.NUMBER}),
    Output.LABELS: frozenset({Role.LABELS, Role.PARTS}),
    Output.NUMBER: frozenset({Role.NUMBER, Role.LABEL}),
    Output.TEXT: frozenset(TEXT_ROLES),
}

#: Points from which a column's name alone says that it is predicted.
_TELLING = 4.0
_MOST_NAMED = 6


def read_kind(columns: Columns) -> Reading:
    """Returns the kind of task and its columns.

    Raises:
        TaskError: Nothing can be predicted, or two readings are close; says which argument settles it.
    """
    shaped, wanted = by_shape(columns)
    if shaped is None:
        refuse_shape(columns)
        return _by_target(columns)
    if columns.kind is not None or columns.target is not None:
        return shaped
    if not _can_be_read(columns):
        # What is asked for beside conversations alone cannot be had: that is told, and no chat is learned instead.
        return _by_target(columns) if _names_label(columns) else shaped
    try:
        chosen, _ = _choose_target(columns)
    except TaskError:
        _check_one_flag(columns, shaped)
        return shaped
    if chosen.column.name in (shaped.target, *shaped.inputs):
        return shaped
    if chosen.column.name in shaped.target_columns:
        if chosen.is_asked_for and not columns.sentence.names_kinds() and not _names_several(columns, shaped):
            return _by_target(columns)
        _check_one_flag(columns, shaped)
        return shaped
    if chosen.is_asked_for and not wanted:
        return _by_target(columns)
    if wanted or chosen.points < _TELLING or chosen.column.role in TEXT_ROLES:
        return _with_runner_up(shaped, chosen.describe())
    raise TaskError(
        explain(
            wrong=f"two readings of the task are close: (1) {shaped.describe()}; (2) {chosen.describe()}",
            expected="a sentence that tells what is to be predicted",
            fix=f"pass kind='{shaped.kind}' or target='{chosen.column.name}'",
        )
    )


def _names_several(columns: Columns, shaped: Reading) -> bool:
    """Tells whether the sentence speaks of more than one of the columns a label; hints count where it names none."""
    # "Severe_toxic" is not named by "toxic".
    named = [name for name in shaped.target_columns if columns.sentence.mention(name).strength == 1]
    hinted = [name for name in shaped.target_columns if columns.sentence.hints_at(name)]
    return len(named or hinted) > 1


def _check_one_flag(columns: Columns, shaped: Reading) -> None:
    """Raises TaskError where one thing is asked of a row, and it is open which of several columns a label says it."""
    flags = shaped.target_columns
    if not flags or not columns.sentence.asks_one_thing() or _names_several(columns, shaped):
        return
    named = " or ".join(f"target='{name}'" for name in flags[:_MOST_NAMED])
    raise TaskError(
        explain(
            wrong=f"two readings of the task are close: (1) {shaped.describe()}; (2) one of these columns alone, since "
            "the sentence asks one thing of each row",
            expected="a sentence that names the column, or asks for several labels",
            fix=f"pass {named}, or kind='{shaped.kind}' for all of them",
        )
    )


def _with_runner_up(reading: Reading, runner_up: str) -> Reading:
    return Reading(
        reading.kind, reading.target, reading.inputs, reading.reasons, reading.target_columns, runner_up, reading.column
    )


def _by_target(columns: Columns) -> Reading:
    """Returns the kind that follows from what the target looks like, and from what is read."""
    chosen, second = _choose_target(columns)
    column, named = chosen.column, columns.kind
    excluded = frozenset({column.name})
    if column.role is Role.TEXTS:
        refuse_list(column)
    output, why = (named.output, "") if named else output_of(column, columns.sentence)
    if output is Output.TEXT and is_list(column.type):
        refuse_list(column)
    read = inputs_for(columns, output, excluded=excluded, target=column)
    kind = named.name if named else _kind_of(columns, read, output)
    if output is Output.LABEL:
        check_labels(column)
    elif output is Output.NUMBER:
        check_numbers(column, columns.table)
    numbers = output is Output.LABEL and column.is_number and column.num_distinct > 2
    runner_up = second.describe() if second else read.runner_up
    if runner_up is None and numbers and named is None and (Input.TEXT, Output.NUMBER) in _KINDS:
        runner_up = "a number to predict, with kind='text-regression'"
    what = _target_reason(chosen, output, why, given=columns.target is not None)
    if output is Output.LABELS and _has_one_each(columns, column):
        one = "in a column of plain values, and not of lists, they are one label a row"
        what += f"; every row has exactly one of them: {one}"
    too: list[str] = []
    if columns.target is None:
        what += _unsaid(columns, chosen, read)
        too = _asked_for_too(columns, column, read)
    return Reading(kind, column.name, read.columns, (what, read.reason, *too), runner_up=runner_up, column=column)


def _choose_target(columns: Columns) -> tuple[TargetReading, TargetReading | None]:
    if columns.target is not None:
        column = next(column for column in columns.profiles if column.name == columns.target)
        return TargetReading(column, 0.0, ()), None
    roles = _ROLES.get(columns.kind.output) if columns.kind else None
    excluded = columns.excluded | set(columns.inputs or ())
    return choose_target(columns.profiles, columns.sentence, columns.table, excluded=excluded, roles=roles)


def _kind_of(columns: Columns, read: InputsReading, output: Output) -> str:
    roles = {column.name: column.role for column in columns.profiles}
    images = any(roles[name] is Role.IMAGE for name in read.columns)
    input = Input.IMAGE if images else Input.TEXT_PAIR if read.is_pair else Input.TEXT
    found = _KINDS.get((input, output)) or (None if images else _KINDS[Input.TEXT, output])
    if found is None:
        raise TaskError(
            explain(
                wrong=f"{', '.join(map(repr, read.columns))} holds images, and the target is no label of them",
                expected="one label per image",
                fix="name a column of labels with target='...', or of text with inputs=['...']",
            )
        )
    return found


def _target_reason(chosen: TargetReading, output: Output, why: str, *, given: bool) -> str:
    column = chosen.column
    looks = {Output.LABELS: "labels, several a row", Output.NUMBER: "a number", Output.TEXT: "a text"}
    what = looks.get(output) or f"{column.num_distinct:,} labels"
    because = (
        "you named it" if given else " and ".join(chosen.reasons) or f"of all columns it looks most like {column.role}"
    )
    reason = f"'{column.name}' is the target ({what}): {because}"
    if why and why not in reason:
        reason += f"; {why}"
    numbers = output is Output.LABEL and not column.is_string and column.num_distinct > 2
    return reason + ("; its numbers are taken as classes, without their order" if numbers else "")


def _has_one_each(columns: Columns, column: ColumnProfile) -> bool:
    lengths = pc.list_value_length(columns.table.column(column.name)) if is_list(column.type) else None
    return lengths is not None and pc.min_max(lengths).as_py() == {"min": 1, "max": 1}


def _unsaid(columns: Columns, chosen: TargetReading, read: InputsReading) -> str:
    """Words what else could be predicted, where the sentence says something and nothing of the target."""
    others = columns.free(Role.LABEL, Role.LABELS, Role.NUMBER)
    names = [repr(column.name) for column in others if column.name not in (chosen.column.name, *read.columns)]
    if not names or not columns.sentence.words or chosen.is_asked_for:
        return ""
    return f"; the sentence says nothing of it, and target= names another: {' or '.join(names[:_MOST_NAMED])}"


def _asked_for_too(columns: Columns, target: ColumnProfile, read: InputsReading) -> list[str]:
    """Words which other columns the sentence asks for as well as for the target."""
    others = [column.name for column in columns.free(Role.LABEL, Role.LABELS, Role.NUMBER) if column is not target]
    mentions = {name: columns.sentence.mention(name) for name in others if name not in read.columns}
    return [
        f"'{name}' is asked for too, and a run predicts one column: target='{name}' predicts it in another"
        for name, mention in mentions.items()
        if mention.strength == 1 and mention.asked_to_give and not mention.as_input
    ]


def _names_label(columns: Columns) -> bool:
    mentions = [columns.sentence.mention(column.name) for column in columns.free(Role.LABEL)]
    return any(mention.strength == 1 and mention.asked_to_give for mention in mentions)


def _can_be_read(columns: Columns) -> bool:
    return bool(columns.free(*TEXT_ROLES, Role.IMAGE))
