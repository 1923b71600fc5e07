"""What is read for a target: images, the parts of a prompt, two texts or one. Among texts, `inputs` chooses."""

from __future__ import annotations

from collections.abc import Sequence

from autosft.errors import TaskError, explain
from autosft.inference.columns import TEXT_ROLES, ColumnProfile, Role
from autosft.inference.inputs import InputsReading, choose_inputs, choose_two
from autosft.inference.pairs import are_side_by_side
from autosft.inference.prompts import parts_of_prompt
from autosft.inference.reading import Columns
from autosft.inference.sentence import Sentence
from autosft.inference.writing import turned_into
from autosft.task import Input, Output


def inputs_for(
    columns: Columns, output: Output, *, excluded: frozenset[str], target: ColumnProfile | None = None
) -> InputsReading:
    """Returns what is read for a target."""
    excluded |= columns.excluded
    if columns.inputs is not None:
        listed = ", ".join(map(repr, columns.inputs))
        reason = f"{listed} {'is' if len(columns.inputs) == 1 else 'are'} the input: you named it"
        named = [column for column in columns.profiles if column.name in columns.inputs]
        return InputsReading(columns.inputs, reason, is_pair=are_side_by_side(named, columns.sentence))
    wanted = columns.kind.input if columns.kind else None
    images = [column for column in columns.free(Role.IMAGE) if column.name not in excluded]
    if wanted is Input.IMAGE or (wanted is None and images and not _text_is_named(columns, excluded)):
        return _image_input(images)
    if output is Output.TEXT and target is not None:
        texts = [column for column in columns.free(*TEXT_ROLES) if column.name not in excluded]
        if (turned := turned_into(target, texts, columns.sentence)) is not None:
            why = f"the sentence asks to turn it into '{target.name}'"
            return InputsReading((turned.name,), f"'{turned.name}' is the input: {why}")
        parts = parts_of_prompt(target, columns.profiles, excluded)
        if parts:
            return _parts_read(parts, [text for text in texts if text is not target], columns.sentence)
    if wanted is Input.TEXT_PAIR:
        return choose_two(columns.profiles, columns.sentence, excluded=excluded)
    return choose_inputs(columns.profiles, columns.sentence, excluded=excluded)


def _parts_read(parts: Sequence[ColumnProfile], texts: list[ColumnProfile], sentence: Sentence) -> InputsReading:
    """Returns the parts of a prompt, and what else the sentence names; or those alone that it offers."""
    mentions = {text.name: sentence.mention(text.name) for text in (*parts, *texts)}
    offered = [part for part in parts if mentions[part.name].as_input]
    named = [text for text in texts if mentions[text.name].strength == 1 or mentions[text.name].as_input]
    read = sorted({part.position: part for part in (*(offered or parts), *named)}.items())
    names = tuple(part.name for _, part in read)
    reason = f"{', '.join(map(repr, names))} {'is' if len(names) == 1 else 'are'} what it is written in answer to"
    left = [text.name for text in texts if text.name not in names]
    if left:
        reason += f"; other text is left out ({', '.join(left)}), inputs= would bring it in"
    return InputsReading(names, reason)


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
    texts = [column for column in columns.free(*TEXT_ROLES) if column.name not in excluded]
    mentions = [columns.sentence.mention(column.name) for column in texts]
    images = any(columns.sentence.mention(column.name).strength for column in columns.free(Role.IMAGE))
    return any(mention.as_input or (mention.strength and not images) for mention in mentions)
