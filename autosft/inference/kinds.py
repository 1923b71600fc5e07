"""Which kind of task it is: what each kind is recognised by, one function a kind or group of kinds, in order.

Kinds that columns give away by their type come first, then the rest by what the target looks like. What a column looks
like is told by `autosft.inference.columns`, which of them is predicted by `autosft.inference.target`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from autosft.errors import TaskError, explain
from autosft.inference.columns import ColumnProfile, Role, has_fractions, name_words, word_set
from autosft.inference.inputs import InputsReading, choose_inputs, choose_two, is_pair
from autosft.inference.prompts import parts_of_prompt
from autosft.inference.sentence import Sentence
from autosft.inference.target import TargetReading, check_labels, check_numbers, choose_target
from autosft.task import Input, Output
from autosft.tasks.base import TaskKind
from autosft.tasks.label_sets import is_list, is_yes_or_no

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
    Output.LABELS: frozenset({Role.LABELS}),
    Output.NUMBER: frozenset({Role.NUMBER, Role.LABEL}),
    Output.TEXT: frozenset({Role.TEXT}),
}
_TEXT_INPUTS = frozenset({Input.TEXT, Input.TEXT_PAIR})

#: Integers with more values than this may be measurements as well as numbers of classes.
_FEW_NUMBERS = 20
_CLASS_NAMES = word_set("label labels class classes category categories intent target id code topic type")
_MEASURE_NAMES = word_set(
    "score scores rating similarity grade price value age year count length percent points relevance"
)
#: Points from which a column's name alone says that it is predicted.
_TELLING = 4.0
_MAX_LABEL_WORDS = 3.0
_SAMPLE = 2000


@dataclass(frozen=True)
class Columns:
    """What is known before the kind is.

    Attributes:
        profiles: Every column.
        table: The training rows.
        sentence: What the user wrote.
        target: The target as the user named it, or None.
        inputs: The inputs as the user named them, or None.
        excluded: Columns that were given another part.
        kind: The kind as the user named it, or None.
    """

    profiles: list[ColumnProfile]
    table: pa.Table
    sentence: Sentence
    target: str | None
    inputs: tuple[str, ...] | None
    excluded: frozenset[str]
    kind: TaskKind | None

    def free(self, *roles: Role) -> list[ColumnProfile]:
        """Returns the columns without another part that look like one of these; any, where none is named."""
        return [c for c in self.profiles if c.name not in self.excluded and (not roles or c.role in roles)]

    def may_be(self, kind: str, *, target: str, inputs: tuple[str, ...]) -> bool:
        """Tells whether a reading agrees with what the user named."""
        return (
            (self.kind is None or self.kind.name == kind)
            and self.target in (None, target)
            and self.inputs in (None, inputs)
        )


@dataclass(frozen=True)
class Reading:
    """A kind with its columns.

    Attributes:
        kind: A key of `autosft.tasks.KINDS`.
        target: The column that is predicted; a name for it where it is spread over `target_columns`.
        inputs: What is read.
        reasons: In words.
        target_columns: As in Task.
        runner_up: The second-best reading in words.
        column: The target's profile, where it is one column that labels or numbers are read from.
    """

    kind: str
    target: str
    inputs: tuple[str, ...]
    reasons: tuple[str, ...]
    target_columns: tuple[str, ...] = ()
    runner_up: str | None = None
    column: ColumnProfile | None = None

    def describe(self) -> str:
        """Returns the reading in words, for the choice between two."""
        return f"{self.kind} of {', '.join(map(repr, self.inputs))}, because {self.reasons[0]}"


def read_kind(columns: Columns) -> Reading:
    """Returns the kind of task and its columns.

    Raises:
        TaskError: Nothing can be predicted, or two readings are close; says which argument settles it.
    """
    shaped, wanted = _by_shape(columns)
    if shaped is None:
        _refuse_shape(columns)
        return _by_target(columns)
    if columns.kind is not None or columns.target is not None or not _can_be_read(columns):
        return shaped
    try:
        chosen, _ = _choose_target(columns)
    except TaskError:
        return shaped
    if chosen.column.name in (shaped.target, *shaped.inputs):
        return shaped
    if chosen.column.name in shaped.target_columns:
        return _by_target(columns) if _asked_for(columns, chosen) else shaped
    if _asked_for(columns, chosen) and not wanted:
        return _by_target(columns)
    if wanted or chosen.points < _TELLING or chosen.column.role is Role.TEXT:
        return _with_runner_up(shaped, chosen.describe())
    raise TaskError(
        explain(
            wrong=f"two readings of the task are close: (1) {shaped.describe()}; (2) {chosen.describe()}",
            expected="a sentence that tells what is to be predicted",
            fix=f"pass kind='{shaped.kind}' or target='{chosen.column.name}'",
        )
    )


def _asked_for(columns: Columns, chosen: TargetReading) -> bool:
    """Tells whether it is the sentence that speaks for a target."""
    return any("the sentence" in reason for reason in chosen.reasons)


def _with_runner_up(reading: Reading, runner_up: str) -> Reading:
    return Reading(
        reading.kind, reading.target, reading.inputs, reading.reasons, reading.target_columns, runner_up, reading.column
    )


def _by_shape(columns: Columns) -> tuple[Reading | None, bool]:
    """Returns the first reading that columns give away by their type, and whether the sentence speaks for it."""
    sentence = columns.sentence
    for reading, words in (
        (_chat(columns), sentence.wants_chat()),
        (_tagged_words(columns), sentence.wants_marks()),
        (_marked_texts(columns), sentence.wants_marks()),
        (_flags(columns), sentence.wants_several()),
    ):
        if reading is not None:
            return reading, words is not None
    return None, False


def _chat(columns: Columns) -> Reading | None:
    """Conversations: lists of {role, content}, {from, value} or {speaker, utterance}; they are input and target."""
    for column in columns.free(Role.MESSAGES):
        if columns.may_be("chat", target=column.name, inputs=(column.name,)):
            return Reading("chat", column.name, (column.name,), (f"'{column.name}' holds {column.role}",))
    return None


def _tagged_words(columns: Columns) -> Reading | None:
    """Two lists of the same lengths in every row, the one of words and the other of a few tags."""
    lists = [c for c in columns.free(Role.WORDS, Role.LABELS) if is_list(c.type)]
    for words in lists:
        for tags in lists:
            # Lists of sentences have labels of their own, which are no tags.
            fits = _is_text(words.type.value_type) and words.mean_words < 1.5 and words.num_distinct > tags.num_distinct
            agrees = columns.may_be("token-classification", target=tags.name, inputs=(words.name,))
            if words is not tags and fits and agrees and _same_lengths(columns.table, words.name, tags.name):
                reason = f"'{tags.name}' has a tag for each word of '{words.name}'"
                return Reading("token-classification", tags.name, (words.name,), (reason,))
    return None


def _marked_texts(columns: Columns) -> Reading | None:
    """A text and spans in it."""
    for spans in columns.free(Role.SPANS):
        texts = columns.free(Role.TEXT)
        named = [text for text in texts if columns.inputs is None or text.name in columns.inputs]
        text = max(named, key=lambda column: column.mean_length, default=None)
        if text and columns.may_be("token-classification", target=spans.name, inputs=(text.name,)):
            reason = f"'{spans.name}' marks spans of '{text.name}'"
            return Reading("token-classification", spans.name, (text.name,), (reason,))
    return None


def _flags(columns: Columns) -> Reading | None:
    """Several columns that say of each row whether a label holds: a name for each label."""
    kind = "multi-label-classification"
    if columns.target is not None or (columns.kind is not None and columns.kind.name != kind):
        return None
    given = columns.inputs or ()
    flags = [c for c in columns.free(Role.LABEL, Role.CONSTANT) if c.name not in given and is_yes_or_no(c.values)]
    fewest = 2 if columns.kind is not None or columns.sentence.wants_several() else 3
    if len(flags) < fewest or all(column.role is Role.CONSTANT for column in flags):
        return None
    names = tuple(column.name for column in flags)
    read = _inputs(columns, Output.LABELS, excluded=frozenset(names))
    listed = ", ".join(map(repr, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    reason = f"{listed} say of each row whether a label holds"
    target = next(name for name in ("labels", "label_set", "all_labels") if name not in columns.table.column_names)
    return Reading(kind, target, read.columns, (reason, read.reason), names)


def _by_target(columns: Columns) -> Reading:
    """Returns the kind that follows from what the target looks like, and from what is read."""
    chosen, second = _choose_target(columns)
    column, named = chosen.column, columns.kind
    excluded = frozenset({column.name})
    output, why = (named.output, "") if named else _output(column, columns.sentence)
    read = _inputs(columns, output, excluded=excluded, target=column)
    kind = named.name if named else _kind_of(columns, read, output)
    if output is Output.LABEL:
        check_labels(column)
    elif output is Output.NUMBER:
        check_numbers(column)
    numbers = output is Output.LABEL and column.is_number and column.num_distinct > 2
    runner_up = second.describe() if second else read.runner_up
    if runner_up is None and numbers and named is None and (Input.TEXT, Output.NUMBER) in _KINDS:
        runner_up = "a number to predict, with kind='text-regression'"
    reasons = (_target_reason(chosen, output, why, given=columns.target is not None), read.reason)
    return Reading(kind, column.name, read.columns, reasons, runner_up=runner_up, column=column)


def _choose_target(columns: Columns) -> tuple[TargetReading, TargetReading | None]:
    if columns.target is not None:
        column = next(column for column in columns.profiles if column.name == columns.target)
        return TargetReading(column, 0.0, ()), None
    roles = _ROLES.get(columns.kind.output) if columns.kind else None
    excluded = columns.excluded | set(columns.inputs or ())
    return choose_target(columns.profiles, columns.sentence, columns.table, excluded=excluded, roles=roles)


def _output(column: ColumnProfile, sentence: Sentence) -> tuple[Output, str]:
    """Returns what is predicted, and why where that could be otherwise."""
    if column.role is Role.LABELS:
        return Output.LABELS, "a row may have several of them"
    if column.role is Role.TEXT:
        # Short texts in a column that is called a label are labels of which each has one row: a mistake to be told.
        if column.mean_words <= _MAX_LABEL_WORDS and set(name_words(column.name)) & _CLASS_NAMES - {"target"}:
            return Output.LABEL, ""
        return Output.TEXT, "it is free text, to be written"
    if not column.is_number or column.num_distinct <= 2:
        return Output.LABEL, ""
    if words := sentence.wants_number():
        return Output.NUMBER, f"the sentence says '{words}'"
    if column.role is Role.NUMBER:
        return Output.NUMBER, f"{column.num_distinct:,} different numbers are a measurement"
    if column.role is Role.LABEL and column.num_distinct > _FEW_NUMBERS:
        return _many_numbers(column), f"by its name, {column.num_distinct:,} numbers are that"
    return Output.LABEL, ""


def _many_numbers(column: ColumnProfile) -> Output:
    """Tells numbers of many classes from a measurement by the column's name.

    Raises:
        TaskError: The name does not tell.
    """
    words = set(name_words(column.name))
    if words & _MEASURE_NAMES or has_fractions(column.values):
        return Output.NUMBER
    if words & _CLASS_NAMES:
        return Output.LABEL
    raise TaskError(
        explain(
            wrong=f"two readings of the task are close: (1) '{column.name}' holds one of {column.num_distinct:,} "
            f"classes, written as numbers; (2) '{column.name}' holds a number to predict",
            expected="a sentence that tells whether these numbers are names of classes or a measurement",
            fix="pass kind='text-classification' or kind='text-regression'",
        )
    )


def _inputs(
    columns: Columns, output: Output, *, excluded: frozenset[str], target: ColumnProfile | None = None
) -> InputsReading:
    """Returns what is read for a target."""
    excluded |= columns.excluded
    if columns.inputs is not None:
        listed = ", ".join(map(repr, columns.inputs))
        reason = f"{listed} {'is' if len(columns.inputs) == 1 else 'are'} the input: you named it"
        return InputsReading(columns.inputs, reason, is_pair=is_pair(columns.inputs))
    wanted = columns.kind.input if columns.kind else None
    images = [column for column in columns.free(Role.IMAGE) if column.name not in excluded]
    if wanted is Input.IMAGE or (wanted is None and images and not _text_is_named(columns, excluded)):
        return _image_input(images)
    if output is Output.TEXT and target is not None:
        parts = parts_of_prompt(target, columns.profiles, excluded)
        offered = [part for part in parts if columns.sentence.mention(part.name).as_input]
        if parts:
            names = tuple(part.name for part in offered or parts)
            listed = ", ".join(map(repr, names))
            return InputsReading(
                names, f"{listed} {'is' if len(names) == 1 else 'are'} what it is written in answer to"
            )
    if wanted is Input.TEXT_PAIR:
        return choose_two(columns.profiles, columns.sentence, excluded=excluded)
    return choose_inputs(columns.profiles, columns.sentence, excluded=excluded)


def _image_input(images: Sequence[ColumnProfile]) -> InputsReading:
    if not images:
        raise TaskError(
            explain(
                wrong="no column holds images",
                expected="a column with paths of image files, their bytes, or both",
                fix="name the column with inputs=['...'], or choose another kind",
            )
        )
    others = f"input '{images[1].name}'" if len(images) > 1 else None
    return InputsReading((images[0].name,), f"'{images[0].name}' is the input: it holds images", others)


def _text_is_named(columns: Columns, excluded: frozenset[str]) -> bool:
    texts = [column for column in columns.free(Role.TEXT) if column.name not in excluded]
    return any(columns.sentence.mention(column.name).as_input for column in texts)


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


def _can_be_read(columns: Columns) -> bool:
    return bool(columns.free(Role.TEXT, Role.IMAGE))


def _refuse_shape(columns: Columns) -> None:
    """Raises TaskError where a kind was named that only columns of another type could be."""
    kind = columns.kind
    expected = {
        Input.MESSAGES: "a column of conversations, lists of {'role': ..., 'content': ...}",
        Input.TOKENS: "a list of words with a list of tags, or a text with a list of {'start', 'end', 'label'}",
    }.get(kind.input if kind else Input.TEXT)
    if kind is None or expected is None:
        return
    looks = "; ".join(f"'{column.name}' looks like {column.role}" for column in columns.profiles[:12])
    fix = "name the columns with inputs=['...'] and target='...', or choose another kind"
    raise TaskError(explain(wrong=f"no columns fit the kind '{kind.name}' ({looks})", expected=expected, fix=fix))


def _same_lengths(table: pa.Table, first: str, second: str) -> bool:
    lengths = [pc.list_value_length(table.column(name).slice(0, _SAMPLE)) for name in (first, second)]
    same = pc.sum(pc.equal(*lengths)).as_py() or 0
    some = pc.max(lengths[0]).as_py() or 0
    # A few rows with a tag too few are the audit's affair.
    return bool(same >= 0.95 * len(lengths[0]) and some > 1)


def _is_text(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(column_type) or pa.types.is_large_string(column_type))
