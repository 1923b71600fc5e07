"""Kinds that columns give away by their type: conversations, words with tags, texts with spans, a column a label.

One function a kind. Kinds that follow from the target alone are told in `autosft.inference.kinds`.
"""

from __future__ import annotations

import pyarrow as pa

from autosft.errors import TaskError, explain
from autosft.inference.columns import ColumnProfile, Role, name_words, same_lengths
from autosft.inference.inputs_for import inputs_for
from autosft.inference.reading import Columns, Reading
from autosft.task import Input, Output
from autosft.tasks.label_sets import is_list, is_yes_or_no, num_odd_cells

# Of a column a label so many cells may say neither yes nor no (of short columns less than the last share), or less than
# this share of them; where more do, but still few, the column is left out and told.
_ODD_CELLS, _ODD_SHARE, _MOST_ODD = 3, 0.01, 0.1
_SPOILT_SHARE = 0.2
# How the name of a fact about a row begins, beside labels that are called by their names alone.
_OF_FACTS = (("has",), ("is",), ("example",))


def by_shape(columns: Columns) -> tuple[Reading | None, bool]:
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


def refuse_shape(columns: Columns) -> None:
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
        found = []
        for tags in lists:
            # Lists of sentences have labels of their own, which are no tags.
            fits = _is_text(words.type.value_type) and words.mean_words < 1.5 and words.num_distinct > tags.num_distinct
            agrees = columns.may_be("token-classification", target=tags.name, inputs=(words.name,))
            if words is not tags and fits and agrees and same_lengths(columns.table, words.name, tags.name):
                found.append(tags)
        if found:
            tags, why = _meant_tags(columns, found)
            reason = f"'{tags.name}' has a tag for each word of '{words.name}'{why}"
            return Reading("token-classification", tags.name, (words.name,), (reason,))
    return None


def _meant_tags(columns: Columns, found: list[ColumnProfile]) -> tuple[ColumnProfile, str]:
    """Returns the tags that the sentence asks for, and its words for them.

    Raises:
        TaskError: Several columns hold tags, and it asks for none of them, or for more than one.
    """
    if len(found) == 1:
        return found[0], ""
    asked = {}
    for column in found:
        words = columns.sentence.asks_for_tags(name_words(column.name))
        if words or columns.sentence.mention(column.name).strength == 1:
            asked[column.name] = words or column.name
    if len(asked) == 1:
        return next((c, f", and the sentence says '{asked[c.name]}'") for c in found if c.name in asked)
    listed = "; ".join(f"({i}) the tags of '{column.name}'" for i, column in enumerate(found[:3], 1))
    raise TaskError(
        explain(
            wrong=f"two readings of the task are close: {listed}",
            expected="a sentence that tells which tags are to be predicted",
            fix="pass " + " or ".join(f"target='{column.name}'" for column in found[:3]),
        )
    )


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
    free = [column for column in columns.free(Role.LABEL, Role.CONSTANT) if column.name not in given]
    clean = [column for column in free if is_yes_or_no(column.values)]
    several = columns.kind is not None or columns.sentence.wants_several() is not None
    fewest = 2 if several else 3
    # Of two labels one may be spoilt; counts, which are mostly 0 and 1 too, are told from labels by their company.
    if len(clean) < fewest - 1 or all(column.role is Role.CONSTANT for column in clean):
        return None
    odd = {c.name: num_odd_cells(columns.table.column(c.name)) for c in free if c not in clean}
    # A few wrong cells are the audit's affair, which names them and leaves their rows out.
    flags = [c for c in free if c in clean or _is_nearly(odd[c.name], c.num_values)]
    facts = [c.name for c in flags if _is_fact(c, columns)]
    # Where all are called so, or too few others are left of what is asked for, those are labels too.
    if len(facts) == len(flags) or (several and len(flags) - len(facts) < fewest):
        facts = []
    names = tuple(column.name for column in flags if column.name not in facts)
    if len(names) < fewest:
        return None
    spoilt = {c.name: odd[c.name] for c in free if c not in flags and odd[c.name] <= _SPOILT_SHARE * c.num_values}
    read = inputs_for(columns, Output.LABELS, excluded=frozenset(names))
    listed = ", ".join(map(repr, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    reason = f"{listed} say of each row whether a label holds"
    for name, count in spoilt.items():
        reason += f"; '{name}' is left out, since {count:,} of its cells say neither 0 nor 1"
    if facts:
        reason += f"; {', '.join(map(repr, facts))} {'is' if len(facts) == 1 else 'are'} left out: no label by its name"
    target = next(name for name in ("labels", "label_set", "all_labels") if name not in columns.table.column_names)
    return Reading(kind, target, read.columns, (reason, read.reason), names)


def _is_fact(column: ColumnProfile, columns: Columns) -> bool:
    """Tells a column that by its name says something else of a row, such as "has_url", and that no one asks for."""
    return name_words(column.name)[:1] in _OF_FACTS and not columns.sentence.mention(column.name).strength


def _is_nearly(num_odd: int, num_values: int) -> bool:
    few = num_odd <= _ODD_CELLS and num_odd < _MOST_ODD * num_values
    return few or num_odd < _ODD_SHARE * num_values


def _is_text(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(column_type) or pa.types.is_large_string(column_type))
