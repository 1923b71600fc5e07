"""What the hub reads of a model's card: the YAML before it, made by huggingface_hub's own classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from autosft.card.loading import pipeline_tag
from autosft.card.markdown import line
from autosft.data.hub import may_be_hub_id
from autosft.data.texts import as_text, shortened
from autosft.inputs.language import language_of
from autosft.model_hub import is_hub_id
from autosft.planning.plan import Arm, Plan
from autosft.proof import Proof

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

#: The hub's word for a dataset that it does not hold.
_UNKNOWN = "unknown"
_SAMPLE_ROWS = 300


def metadata(plan: Plan, arms: Sequence[Arm], proof: Proof, *, title: str, library: str | None) -> str:
    """Returns the YAML without the lines around it; what is not known is left out.

    Args:
        arms: The winner's, and those of what answers beside it.
        title: What the model is called there.
        library: What loads the model, by its name on the hub.
    """
    from huggingface_hub import ModelCardData

    dataset, _ = _dataset(plan)
    on_hub = list(dict.fromkeys(arm.base_model.id for arm in arms if is_on_hub(arm)))
    # A score of rows that also chose the model would stand beside true test scores.
    results = [] if proof.selected_on else _results(plan, proof)
    data = ModelCardData(
        language=_language(plan, next((arm for arm in arms if arm.base_model.languages), arms[0])),
        license=_licence(arms),
        library_name=library,
        pipeline_tag=pipeline_tag(plan.task),
        base_model=on_hub[0] if len(on_hub) == 1 else on_hub or None,
        datasets=[dataset] if dataset else None,
        metrics=[line(name) for name in _names(plan, proof)],
        tags=["autosft"],
        model_name=line(title) if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def is_on_hub(arm: Arm) -> bool:
    """Whether the base model's id is one of the hub, and not a folder's path or the name of what is made here."""
    return arm.base_model.pretrained and is_hub_id(arm.base_model.id, arm.folder)


def licence_of(arm: Arm) -> str | None:
    """Returns the licence of the weights that the model started from; None where it is unknown or there were none."""
    base = arm.base_model
    return base.licence if base.pretrained and base.licence != "unknown" else None


def _licence(arms: Sequence[Arm]) -> str | None:
    """Returns the one licence that all weights come under; several have no one name."""
    licences = {licence_of(arm) for arm in arms if arm.base_model.pretrained}
    return licences.pop() if len(licences) == 1 else None


def _language(plan: Plan, arm: Arm) -> str | None:
    """Returns the data's language where the base model's card names it too: a script alone is shared by many."""
    rows = plan.data.training(None)[0].table()
    names = [name for name in ("text", "text_pair", "tokens", "messages") if name in rows.column_names]
    if not names or not arm.base_model.languages:
        return None
    some = pa.array(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE_ROWS), dtype=np.int64))
    texts = [text or "" for name in names for text in as_text(rows.column(name).take(some)).to_pylist()]
    found = language_of(texts)
    return found if found in arm.base_model.languages else None


def _names(plan: Plan, proof: Proof) -> list[str]:
    """Returns the metrics, the deciding one first."""
    first = plan.task.metric.name
    return [first, *(name for name in proof.scores if name != first)]


def _dataset(plan: Plan) -> tuple[str | None, str | None]:
    """Returns the data's id on the hub and its config; a path on this machine is nobody's business."""
    origin = plan.origin.data
    if not origin or Path(origin).is_absolute() or not may_be_hub_id(origin):
        return None, None
    name, _, config = origin.partition(":")
    return name, config or None


def _results(plan: Plan, proof: Proof) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    task_type = pipeline_tag(plan.task)
    name, config = _dataset(plan) if plan.origin.test is None else (None, None)
    values = {**proof.scores, plan.task.metric.name: proof.shipped.score}
    where = "test rows" if proof.rows == "test" else "rows set aside"
    return [
        EvalResult(
            task_type=task_type or "other",
            dataset_type=name or _UNKNOWN,
            dataset_name=name or f"{proof.shipped.num_rows:,} {where} (data {plan.data.fingerprint})",
            dataset_config=config,
            dataset_split="test" if proof.rows == "test" else None,
            metric_type=line(metric),
            metric_name=shortened(line(metric)),
            metric_value=round(float(values[metric]), 6),
        )
        for metric in _names(plan, proof)
        if metric in values and math.isfinite(values[metric])
    ]
