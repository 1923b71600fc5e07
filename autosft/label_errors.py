"""Labels that are probably wrong: what a frozen head that did not train on a row makes of it.

Part of what is checked before the search, though it needs a worker: the features it computes are those of the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.arrays import one_array, to_matrix, to_numbers
from autosft.cache import cache_folder
from autosft.data.finding import Finding, Severity
from autosft.data.texts import shortened
from autosft.planning.plan import Arm, Resources
from autosft.prepare import Prepared
from autosft.search.work import MOST_FOLDS
from autosft.task import Output
from autosft.tasks import kind as task_kind
from autosft.tasks.confident_learning import suspected_labels
from autosft.trainers import trainer_class
from autosft.trainers.base import Limits

if TYPE_CHECKING:
    from autosft.search.runner import Runner

#: What looking for wrong labels may take of a budget in time.
_SHARE = 0.05

_NUM_EXAMPLES = 5
_MANY = 0.05

#: From here on the model itself may be what is wrong, and up to here the rows that it is surest of are worth a look: of
#: sentences in two or three classes with a tenth to a third of the labels shuffled, about nine in ten of the surest
#: twenty were wrong; beyond that, between two classes, hardly more than chance gives.
_TOO_MANY, _HOPELESS = 0.2, 0.4

#: Of sets of labels a weak model doubts some label of many rows, whatever they are worth; but its surest doubts are
#: good: on 4,000 comments with 28 emotions, a tenth or three tenths of them with one label exchanged, it doubted 45 and
#: 48 % of the rows, and 14 and 17 of the surest twenty had been exchanged.
_ALWAYS = 1.0


def find_label_errors(
    prepared: Prepared, arms: Sequence[Arm], runner: Runner, resources: Resources, *, limit_seconds: float | None
) -> tuple[Finding, ...]:
    """Cross-validates the cheapest probe and reports the labels that it confidently takes for others.

    Args:
        arms: With their measured cost; those that train nothing but a head can look at the labels.
        limit_seconds: The budget in time. Where a look would take more than a twentieth of it, there is none.
    """
    task, data = prepared.task, prepared.data
    timed = [arm for arm in arms if arm.cost is not None]
    # Words and letters alone do where there is no base model to probe.
    cheap = [arm for arm in timed if trainer_class(arm.trainer).is_probe]
    cheap = cheap or [arm for arm in timed if trainer_class(arm.trainer).only_base is not None]
    accuse = _ACCUSE.get(task_kind(task.kind).output)
    if accuse is None or not cheap or data.num_folds < 2:
        return ()
    arm = min(cheap, key=lambda arm: arm.trial_seconds)
    # Every fold after the first finds the features there.
    if limit_seconds is not None and arm.trial_seconds * MOST_FOLDS / 2 > _SHARE * limit_seconds:
        return ()
    arguments = {
        "trainer": arm.trainer,
        "base_model": arm.base_model,
        "folder": arm.folder,
        "config": dict(arm.default),
        "task": task,
        "data": data.for_search(),
        "limits": Limits(num_threads=resources.cpus_per_trial, cache=cache_folder(), max_length=arm.max_length),
    }
    kill_after = None if limit_seconds is None else 2 * _SHARE * limit_seconds
    room = resources.per_job((arm, arm.default))
    ended = runner.run("autosft.search.work:predict_folds", arguments, **room, kill_after_seconds=kill_after)
    if ended.fate != "complete":
        return ()
    rows, outputs = ended.value
    everything = data.training(None)[0]
    suspects = accuse(task.labels, everything.targets().take(pa.array(rows)), to_matrix(outputs))
    count = len({suspect.at for suspect in suspects})
    if not count:
        return ()
    share = count / len(rows)
    places = everything.numbers("row")[rows]
    shown = suspects[:_NUM_EXAMPLES]
    seen = one_array(everything.table().column(0)).take(rows[[suspect.at for suspect in shown]]).to_pylist()
    examples = tuple(
        f"row {places[suspect.at]}: {suspect.doubt}: {shortened(_in_words(value), limit=60)}"
        for suspect, value in zip(shown, seen, strict=True)
    )
    several = task_kind(task.kind).output is Output.LABELS
    if share > _TOO_MANY:
        worth_a_look = share <= (_ALWAYS if several else _HOPELESS)
        severity = Severity.INFO if several else Severity.WARNING
        return (_in_doubt(count, share, examples if worth_a_look else (), severity),)
    looked_at = f"{count:,} of {len(rows):,} {'rows' if several else 'labels'} looked at ({share:.1%})"
    wrong = "probably wrong labels" if several else "probably wrong"
    has = "has" if several and count == 1 else "have" if several else "is" if count == 1 else "are"
    message = f"{looked_at} {has} {wrong}"
    advice = "look at the examples; nothing was changed, since a model's doubt is not proof"
    severity = Severity.WARNING if share > _MANY else Severity.INFO
    return (Finding("label-errors", severity, message, count, examples, advice, False),)


class _Suspect(NamedTuple):
    """A label that is probably wrong: the place of its row among those looked at, and why in words."""

    at: int
    doubt: str


def _of_one_label(labels: Sequence[str], targets: pa.Array, probabilities: NDArray[np.float32]) -> list[_Suspect]:
    given = to_numbers(targets).astype(np.int64)
    suspects, likelier = suspected_labels(given, probabilities)
    return [
        _Suspect(
            at, f"'{_short(labels[given[at]])}' looks like '{_short(labels[label])}' ({probabilities[at, label]:.2f})"
        )
        for at, label in zip(suspects.tolist(), likelier.tolist(), strict=True)
    ]


def _of_several(labels: Sequence[str], targets: pa.Array, probabilities: NDArray[np.float32]) -> list[_Suspect]:
    """Asks of each label by itself whether it should be there, the surest doubts first."""
    given = to_matrix(targets).astype(np.int64)
    found = []
    for label, name in enumerate(labels):
        both = np.stack([1 - probabilities[:, label], probabilities[:, label]], axis=1)
        for at, should in zip(*suspected_labels(given[:, label], both), strict=True):
            told = "seems to be missing" if should else "looks wrong"
            doubt = f"'{_short(name)}' {told} ({probabilities[at, label]:.2f})"
            found.append((-abs(both[at, should] - both[at, 1 - should]), int(at), doubt))
    return [_Suspect(at, doubt) for _, at, doubt in sorted(found)]


#: Who says which labels are probably wrong, by what a row's target is.
_ACCUSE: dict[Output, Callable[[Sequence[str], pa.Array, NDArray[np.float32]], list[_Suspect]]] = {
    Output.LABEL: _of_one_label,
    Output.LABELS: _of_several,
}


def _in_doubt(count: int, share: float, examples: tuple[str, ...], severity: Severity) -> Finding:
    message = (
        f"a frozen head disagrees with {share:.0%} of the labels that it was not trained on: either many labels are "
        "wrong, or this base model cannot tell these classes apart"
    )
    look = "look at the examples, the rows that it is surest of" if examples else "look at some rows of each label"
    advice = f"{look}: mend the labels if those are wrong, try other base models (models=) if they are right"
    return Finding("label-errors", severity, message, count, examples, advice, False)


def _short(label: str) -> str:
    return shortened(label, limit=40)


def _in_words(value: Any) -> str:
    """Returns a text as it is, and of an image where it is."""
    return value if isinstance(value, str) else (value or {}).get("path") or "an image without a path"
