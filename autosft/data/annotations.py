"""Rows as tools for annotation export them: spaCy's pairs, Label Studio's tasks, spans as [start, end, label].

What lives here: from their shapes to rows and columns. Prodigy's answers are judged in `prodigy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autosft.errors import DataError, explain


def as_rows(rows: Sequence[Any], *, place: str) -> Sequence[Any]:
    """Returns rows of spaCy and of Label Studio as dicts of columns; all others come back as they are.

    Raises:
        DataError: Label Studio's tasks hold no spans or choices in a text.
    """
    if rows and all(map(_is_spacy_pair, rows)):
        return [{"text": row[0], "entities": row[1]["entities"]} for row in rows]
    if rows and all(map(_is_task, rows)):
        return _from_tasks(rows, place=place)
    return rows


def spans_with_fields(values: Sequence[Any]) -> list[Any] | None:
    """Returns lists of [start, end, label] as {"start", "end", "label"}, which Arrow can hold; None where some are not.

    Rows without any span keep their empty list, or their null.
    """
    lists = [value for value in values if value is not None]
    if not all(isinstance(spans, list | tuple) and all(map(_is_span, spans)) for spans in lists) or not any(lists):
        return None
    return [
        None if spans is None else [{"start": start, "end": end, "label": label} for start, end, label in spans]
        for spans in values
    ]


def _is_span(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    start, end, label = value
    return type(start) is int and type(end) is int and isinstance(label, str)


def _is_spacy_pair(row: object) -> bool:
    """Tells (text, {"entities": [...]}), as spaCy's training data has been written since its version 2."""
    if not isinstance(row, list | tuple) or len(row) != 2:
        return False
    text, notes = row
    return isinstance(text, str) and isinstance(notes, Mapping) and "entities" in notes


def _is_task(row: object) -> bool:
    """Tells Label Studio's full export: what was shown, and a list of what each annotator said about it."""
    if not isinstance(row, Mapping) or not isinstance(row.get("data"), Mapping):
        return False
    annotations = row.get("annotations")
    return isinstance(annotations, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("result"), list) for one in annotations
    )


def _from_tasks(tasks: Sequence[Mapping[str, Any]], *, place: str) -> list[dict[str, Any]]:
    """Returns a row a task: what was shown, and under the name of each tag of the form what was said with it."""
    results = [_results(task) for task in tasks]
    spans = {name for row in results for name, value in row or () if "labels" in value}
    choices = {name: [_chosen(name, row) for row in results] for row in results for name, _ in row or ()}
    choices = {name: rows for name, rows in choices.items() if name not in spans and any(rows)}
    if not spans and not choices:
        raise DataError(
            explain(
                wrong=f"{place} is a full export of Label Studio, and no task in it has spans of a text or choices",
                expected="tasks with labels of places in a text, or with choices",
                fix="export it as JSON-MIN or CSV, which have a column for each field of the form",
            )
        )
    # Where no row has several choices they are labels, else sets of them.
    several = {name for name, rows in choices.items() if any(row and len(row) > 1 for row in rows)}
    made = []
    for at, (task, row) in enumerate(zip(tasks, results, strict=True)):
        told: dict[str, Any] = {name: None if row is None else _spans(name, row) for name in spans}
        for name, rows in choices.items():
            told[name] = rows[at] if name in several else next(iter(rows[at] or ()), None)
        made.append({**task["data"], **told})
    return made


def _results(task: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]] | None:
    """Returns what the first annotation that was not cancelled says, each by the name of its tag; None without one."""
    said = next((one["result"] for one in task["annotations"] if not one.get("was_cancelled")), None)
    if said is None:
        return None
    found = [
        (str(one.get("from_name", "label")), one["value"]) for one in said if isinstance(one.get("value"), Mapping)
    ]
    return [(name, value) for name, value in found if "choices" in value or _marks_text(value)]


def _marks_text(value: Mapping[str, Any]) -> bool:
    # Of sound and films these are seconds, of web pages places in their own markup.
    return type(value.get("start")) is int and type(value.get("end")) is int and isinstance(value.get("labels"), list)


def _chosen(tag: str, row: list[tuple[str, Mapping[str, Any]]] | None) -> list[str] | None:
    found = [list(map(str, value["choices"])) for name, value in row or () if name == tag and "choices" in value]
    return found[0] if found else None


def _spans(tag: str, row: list[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {"start": value["start"], "end": value["end"], "label": label}
        for name, value in row
        if name == tag and "labels" in value
        for label in value["labels"]
    ]
