"""Rows as Prodigy exports them: what its annotators rejected or left out is no truth to learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.data.column_types import is_text
from autosft.data.source import Source
from autosft.errors import DataError, explain

#: Columns of its own, of which each row has one.
_HASHES = frozenset({"_input_hash", "_task_hash"})
_ANSWERS = frozenset({"accept", "reject", "ignore"})


def accepted(source: Source) -> Source:
    """Returns only the rows that were accepted, with what Prodigy says about its own work left out.

    Where every row asks about one and the same label, whether it was accepted is the answer: of such rows only the
    ignored ones go, and "answer" stays, to be predicted. Of choices ("accept": ["POS"]), those of which each row has
    one become labels. Other sources come back as they are.

    Raises:
        DataError: No row of a split was accepted.
    """
    train = source.train
    if not _is_prodigy(train):
        return source
    asked = _label_asked_about(train)
    wanted = ("accept", "reject") if asked is not None else ("accept",)
    # Rows that came without the column were not annotated there.
    annotated = {name: table for name, table in source.splits.items() if "answer" not in source.lacking.get(name, ())}
    masks = {name: _is_in(table, wanted) for name, table in annotated.items()}
    dropped = {name: int((~mask).sum()) for name, mask in masks.items() if not mask.all()}
    kept = source.filtered({name: masks[name] for name in dropped})
    for name in masks:
        if kept.splits[name].num_rows:
            continue
        raise DataError(
            explain(
                wrong=f"none of the {len(masks[name]):,} {name} rows of {source.origin} was accepted in Prodigy",
                expected="rows whose 'answer' is 'accept'",
                fix="annotate more, or take out the column 'answer' to learn from all rows",
            )
        )
    unwanted = {"options", "label"} if asked is not None else {"options", "answer"}
    single = "accept" in train.column_names and _are_single(kept)
    splits = {name: _tidy(table, unwanted, single=single) for name, table in kept.splits.items()}
    notes = [
        f"{name}: {count:,} of {len(masks[name]):,} rows left out, whose 'answer' in Prodigy is not "
        f"{' or '.join(wanted)}."
        for name, count in dropped.items()
    ]
    if asked is not None:
        notes.append(f"Every row asks in Prodigy whether it is '{asked}': 'answer' says so, and 'label' was left out.")
    return replace(kept, splits=splits, notes=(*source.notes, *notes))


def _is_prodigy(table: pa.Table) -> bool:
    if not _HASHES & set(table.column_names) or "answer" not in table.column_names:
        return False
    answers = table.column("answer")
    return is_text(answers.type) and set(pc.unique(answers.drop_null()).to_pylist()) <= _ANSWERS


def _label_asked_about(table: pa.Table) -> str | None:
    """Returns the one label that every row was asked about, of some accepted and of some rejected; else None."""
    if (
        "label" not in table.column_names
        or "spans" in table.column_names
        or not is_text(table.schema.field("label").type)
    ):
        return None
    labels, answers = pc.unique(table.column("label")).to_pylist(), pc.unique(table.column("answer")).to_pylist()
    return labels[0] if len(labels) == 1 and {"accept", "reject"} <= set(answers) else None


def _is_in(table: pa.Table, answers: tuple[str, ...]) -> NDArray[np.bool_]:
    found = pc.is_in(table.column("answer"), value_set=pa.array(answers))
    return np.asarray(found.to_numpy(), np.bool_)


def _are_single(source: Source) -> bool:
    """Tells whether each row has exactly one choice."""
    columns = [table.column("accept") for table in source.splits.values()]
    lists = all(pa.types.is_list(column.type) and is_text(column.type.value_type) for column in columns)
    return lists and all(pc.all(pc.equal(pc.list_value_length(column), 1), min_count=0).as_py() for column in columns)


def _tidy(table: pa.Table, unwanted: set[str], *, single: bool) -> pa.Table:
    table = table.drop_columns([name for name in table.column_names if name in unwanted or name in _HASHES])
    if single:
        index = table.column_names.index("accept")
        table = table.set_column(index, "accept", pc.list_flatten(table.column("accept")))
    return table
