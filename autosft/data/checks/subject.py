"""What a check is given (the Subject) and what it answers (the Outcome).

The checks themselves live in the other files of this folder; `autosft.data.audit` runs them in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autosft.counting import counted
from autosft.data.finding import Severity
from autosft.data.source import Source
from autosft.data.texts import shortened
from autosft.task import Input, Output, Task

if TYPE_CHECKING:
    from autosft.tasks.base import TaskKind

NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Subject:
    """The data as it stands between two checks.

    Attributes:
        kind: The task's kind, which says how its columns read.
        task: The task, its labels as merged so far.
        source: The tables as cleaned so far.
        texts: A text for each row of each split that is the same where inputs are, large_string, "" where blank.
        labels: The targets of each split as text, large_string, null where missing.
        seed: For checks that look at a sample.
    """

    kind: TaskKind
    task: Task
    source: Source
    texts: Mapping[str, pa.Array]
    labels: Mapping[str, pa.Array]
    seed: int = 0

    @staticmethod
    def of(kind: TaskKind, task: Task, source: Source, *, seed: int) -> Subject:
        """Reads the input and target columns of every split."""
        texts = {name: kind.identities(task, table) for name, table in source.splits.items()}
        labels = {name: kind.target_texts(task, table) for name, table in source.splits.items()}
        return Subject(kind, task, source, texts, labels, seed)

    @property
    def one_label(self) -> bool:
        """Whether every row has one label out of a few, so that it makes sense to count them."""
        return self.kind.output is Output.LABEL

    @property
    def reads_text(self) -> bool:
        """Whether the inputs are texts, so that it makes sense to compare them letter by letter."""
        return self.kind.input in (Input.TEXT, Input.TEXT_PAIR, Input.TOKENS, Input.MESSAGES)

    def shown(self, split: str) -> pa.Array:
        """Returns a text a row of a split to show a person which row it is."""
        return self.texts[split] if self.reads_text else self.kind.shown(self.task, self.source.splits[split])

    def place(self, split: str, row: int) -> str:
        """Returns where a row stood as it was read: "row 7" of the training rows, "test row 7", counted from 0."""
        return self.places(split, [row])

    def places(self, split: str, rows: Iterable[int]) -> str:
        """Returns where some rows stood, the first few of them: "row 7", "rows 3, 7", "rows 3, 7, 9, ..."."""
        found = self.source.places(split)[list(rows)]
        listed = ", ".join(map(str, found[:NUM_EXAMPLES])) + (", ..." if len(found) > NUM_EXAMPLES else "")
        return ("" if split == "train" else f"{split} ") + ("row " if len(found) == 1 else "rows ") + listed

    def examples(self, split: str, rows: Iterable[int], texts: pa.Array | None = None) -> tuple[str, ...]:
        """Returns the first few of these rows: the place of each, and a text that shows which one it is."""
        few = [int(row) for row, _ in zip(rows, range(NUM_EXAMPLES), strict=False)]
        shown = (self.shown(split) if texts is None else texts).take(pa.array(few, pa.int64())).to_pylist()
        return tuple(
            shortened(f"{self.place(split, row)}: {'' if text is None else text}").rstrip(": ")
            for row, text in zip(few, shown, strict=True)
        )

    def keep(self, rows: Mapping[str, NDArray[np.bool_]]) -> Subject:
        """Returns the subject with only the rows of each named split that its mask keeps."""
        masks = {name: pa.array(mask) for name, mask in rows.items()}
        return replace(
            self,
            source=self.source.filtered(rows),
            texts={**self.texts, **{name: self.texts[name].filter(mask) for name, mask in masks.items()}},
            labels={**self.labels, **{name: self.labels[name].filter(mask) for name, mask in masks.items()}},
        )

    @cached_property
    def folded(self) -> Mapping[str, pa.Array]:
        """The inputs of each split in lower case: two rows with one folded text count as the same text."""
        return {name: pc.utf8_lower(texts) for name, texts in self.texts.items()}

    @cached_property
    def label_counts(self) -> dict[str, int]:
        """Number of training rows by label, most frequent first."""
        counted = pc.value_counts(self.labels["train"].drop_null())
        pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        severity: How much it matters.
        message: What was found, in one sentence.
        count: Rows, columns or classes concerned.
        examples: A few of them as text.
        fix: What the check's own fix does, in the past tense; empty where it has none.
        advice: What the user could do, said when there is no fix or it is switched off.
        keep: Part of the fix: the rows to keep, as a mask by split.
        repaired: The fix instead of `keep`: the subject with changed values.
    """

    severity: Severity
    message: str
    count: int
    examples: tuple[str, ...] = ()
    fix: str = ""
    advice: str = ""
    keep: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    repaired: Subject | None = None

    @property
    def can_fix(self) -> bool:
        return bool(self.keep) or self.repaired is not None

    def applied_to(self, subject: Subject) -> Subject:
        """Returns the subject after the fix."""
        return self.repaired if self.repaired is not None else subject.keep(self.keep)


#: Looks at the data and says what it found, or None.
Check = Callable[[Subject], Outcome | None]


def left_out(
    subject: Subject,
    what: str,
    remarks: Mapping[str, Mapping[int, str]],
    *,
    test: str,
    advice: str,
    examples: tuple[str, ...] = (),
) -> Outcome | None:
    """Returns the outcome for rows that nothing can be learned from: all but test rows are dropped.

    Args:
        what: Which rows these are: "Rows with tags that cannot be read".
        remarks: What is wrong with each row, by split.
        test: What becomes of such test rows.
        advice: What the user could do.
        examples: Of the rows; left out, the remarks are shown.
    """
    rows = {name: sorted(found) for name, found in remarks.items() if found}
    if not rows:
        return None
    keep = {name: np.ones(subject.source.splits[name].num_rows, np.bool_) for name in rows if name != "test"}
    for name, mask in keep.items():
        mask[rows[name]] = False
    dropped = sum(len(rows[name]) for name in keep)
    told = [f"dropped {counted(dropped, 'row')}"] if dropped else []
    told += [test] if "test" in rows else []
    shown = (f"{subject.place(name, row)}: {remarks[name][row]}" for name in rows for row in rows[name])
    where = ", ".join(f"{len(found):,} in {name}" for name, found in rows.items())
    return Outcome(
        Severity.WARNING,
        f"{what}: {where}.",
        sum(map(len, rows.values())),
        examples=examples or tuple(map(shortened, islice(shown, NUM_EXAMPLES))),
        fix="; ".join(told),
        advice=advice if dropped else f"{test}; {advice}",
        keep=keep,
    )
