"""The card of a shipped model, its README.md: what it does, how good it is on which rows, and how it is loaded.

Markdown that nothing from the user's data breaks out of lives in `markdown`, the hub's YAML in `metadata`,
the examples in `loading`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.base_models import NO_MODEL
from autosft.budget import format_seconds
from autosft.calibration import Calibration
from autosft.card.loading import Loading, loading, own_example
from autosft.card.markdown import code, escaped, line, table
from autosft.card.metadata import is_on_hub, licence_of, metadata
from autosft.class_names import told_names, told_settings
from autosft.counting import counted
from autosft.data.texts import shortened
from autosft.ensemble import Ensemble
from autosft.intervals import Interval
from autosft.planning.plan import Arm, Plan
from autosft.proof import Proof
from autosft.refit import Refit
from autosft.search.choice import were_tuned
from autosft.search.finals import SAME_LENGTH
from autosft.search.trial import Trial
from autosft.task import Input, Output, Task
from autosft.tasks import kind as task_kind

#: Labels that are named one by one.
_NUM_LABELS = 20


@dataclass(frozen=True)
class Shipped:
    """What a card is about.

    Attributes:
        plan: The run's.
        task: What the model predicts, thresholds included.
        trials: Every trial.
        winner: The trial whose configuration is shipped.
        default: The best untuned default.
        refit: What came of the refit.
        ensemble: What came of the ensemble.
        calibration: What came of the calibration.
        proof: What the model is worth.
        folder: Where the model's files are.
        versions: Of the packages that it was made with.
        wall_seconds: Of the run.
    """

    plan: Plan
    task: Task
    trials: Sequence[Trial]
    winner: Trial
    default: Trial
    refit: Refit
    ensemble: Ensemble
    calibration: Calibration
    proof: Proof
    folder: Path
    versions: Mapping[str, str]
    wall_seconds: float

    @property
    def arm(self) -> Arm:
        """The winner's."""
        return self.plan.arm(self.winner.arm)

    @property
    def arms(self) -> list[Arm]:
        """The winner's, and those of what answers beside it, of those with a base model where there are any."""
        found = [self.arm, *(self.plan.arm(one.trial.arm) for one in self.ensemble.shares[1:])]
        return [arm for arm in found if arm.base_model != NO_MODEL] or found[:1]


def model_card(shipped: Shipped) -> str:
    """Returns the content of README.md, the hub's metadata first."""
    task = shipped.task
    title = shortened(line(f"{task.kind}: {task.target_column}"))
    how = loading(shipped.folder, task)
    parts = [
        [f"# {escaped(title)}"],
        [_origin(shipped.arms)],
        ["## Intended use", "", *_intended_use(task)],
        ["## How to load it", "", *_how_to_load(shipped, how)],
        ["## Scores", "", *_scores(shipped)],
        ["## Data", "", *_data(shipped)],
        ["## Procedure", "", *_procedure(shipped)],
        ["## Limits", "", *_limits(shipped)],
    ]
    yaml = metadata(shipped.plan, shipped.arms, shipped.proof, title=title, library=how.library)
    return f"---\n{yaml}\n---\n\n" + "\n\n".join("\n".join(part) for part in parts) + "\n"


def _intended_use(task: Task) -> list[str]:
    kind, asked = task_kind(task.kind), line(task.description)
    names = ", ".join(map(code, task.input_columns))
    many = "columns" if len(task.input_columns) > 1 else "column"
    lines = [f"What was asked for: {escaped(asked)}", ""] if asked else []
    lines += [
        f"* Kind of task: {escaped(task.kind)}.",
        f"* Reads the {many} {names}.",
        f"* Predicts {code(task.target_column)}: {escaped(kind.wording(task))}.",
    ]
    if task.labels:
        named = ", ".join(code(shortened(label)) for label in task.labels[:_NUM_LABELS])
        hidden = len(task.labels) - _NUM_LABELS
        more = f", and {hidden:,} more in autosft.json" if hidden > 0 else ""
        lines.append(f"* Labels ({len(task.labels):,}): {named}{more}.")
    other = (
        "images of other things, or from other sources,"
        if kind.input is Input.IMAGE
        else "other languages, or other subjects and sources,"
    )
    return [
        *lines,
        f"* Not for {other} than its training rows hold.",
        "* Not for decisions that no person looks at, where an error does harm.",
    ]


def _how_to_load(shipped: Shipped, how: Loading) -> list[str]:
    columns = shipped.plan.data.training(None)[0].table().column_names
    lines = ["With autosft:", "", *_fenced(own_example(shipped.task, words_are_texts="text" in columns))]
    if how.code:
        lines += ["", f"With {how.library}, which needs no autosft:", "", *_fenced(how.code)]
    return [*lines, *(part for remark in how.remarks for part in ("", escaped(remark)))]


def _scores(shipped: Shipped) -> list[str]:
    proof, metric = shipped.proof, shipped.plan.task.metric
    score, directions = proof.shipped, task_kind(shipped.task.kind).metrics
    about = "" if metric.positive is None else f" of the label {code(shortened(metric.positive))}"
    lines = [
        f"**{escaped(metric.name)} {score.score:.4f}**{about}, {_interval(score.interval)}, on {_rows(shipped)}. This "
        f"metric decided between the models; {_better(metric.greater_is_better)} is better."
    ]
    if proof.constant is not None:
        scale = task_kind(shipped.task.kind).knowing_nothing
        lines += ["", f"{scale[0].upper()}{scale[1:]}, whatever it reads, scores {proof.constant:.4f} there."]
    others = {name: value for name, value in proof.scores.items() if name != metric.name}
    if others:
        rows = ([escaped(name), f"{value:.4f}", _better(directions.get(name))] for name, value in others.items())
        lines += ["", "By the other metrics, on the same rows:", "", *table(["metric", "score", "better"], rows)]
    return [*lines, "", _gain(shipped)]


def _better(greater: bool | None) -> str:
    return {True: "greater", False: "smaller", None: ""}[greater]


def _gain(shipped: Shipped) -> str:
    proof, arm = shipped.proof, shipped.plan.arm(shipped.default.arm)
    if shipped.winner.is_default and shipped.winner.number == shipped.default.number:
        tuned = "" if were_tuned(shipped.trials) else "; only untuned defaults were trained"
        return f"Gain over the untuned default: none, as the default itself won{tuned}."
    if not shipped.default.is_default:
        return "Gain over the untuned default: not known, as no untuned default was trained to its end."
    verdict = "proven, as the interval is above 0" if proof.is_proven else "not proven, as the interval reaches 0"
    verdict = "worse, as the interval is below 0" if proof.is_worse else verdict
    ran = shipped.default.fidelity
    short = f" for {ran:.0%} of the full length only" if ran < SAME_LENGTH * shipped.winner.fidelity else ""
    which, itself = "the best untuned default", ""
    if shipped.winner.is_default:
        below = ", and scored below that one" if proof.gain < 0 else ""
        which, itself = "another untuned default, the best on validation rows", f" What won is untuned itself{below}."
    return (
        f"Gain over {which} ({escaped(arm.trainer)} on {_base(arm)}), trained on the same rows{short}: "
        f"{proof.gain:+.4f}, {_interval(proof.gain_interval)}; {verdict}.{itself}"
    )


def _rows(shipped: Shipped) -> str:
    """Says which rows a score is of."""
    proof = shipped.proof
    num_rows = proof.shipped.num_rows
    count = f"{num_rows:,} "
    if num_rows < proof.num_rows_given:
        count += f"(of {proof.num_rows_given:,}, drawn at random) "
    if proof.selected_on:
        before = ", measured before the model was trained on them too" if shipped.refit.model else ""
        if shipped.ensemble.model:
            before = ", measured on the winner alone" + before.replace(", measured", ",")
        return f"{count}validation rows{before}: these rows also chose the model, so the score is optimistic"
    kinds = {"test": "test rows", "proof": "rows set aside for proof before the search began"}
    return count + kinds.get(proof.rows, f"{escaped(proof.rows)} rows")


def _data(shipped: Shipped) -> list[str]:
    plan = shipped.plan
    train, validation = plan.data.training(0)
    parts = {"training": len(train), "validation": len(validation) if validation is not None else 0}
    parts |= {name: count for name, count in plan.data.parts.items() if name != "search"}
    counts = ", ".join(f"{count:,} {name}" for name, count in parts.items())
    lines = [f"* Rows: {counts}.", f"* Data fingerprint: {plan.data.fingerprint}."]
    if names := told_names(shipped.winner.config, named=plan.data.named is not None):
        lines.insert(1, f"* {names.capitalize()}: the names are words, and rows are few.")
    for finding in plan.findings:
        # Without their examples, which are the user's rows.
        told = "; ".join(filter(None, (finding.message.rstrip("."), finding.action.rstrip("."))))
        lines.append(f"* {finding.severity}: {escaped(told)}.")
    return lines


def _procedure(shipped: Shipped) -> list[str]:
    plan, arm, winner = shipped.plan, shipped.arm, shipped.winner
    fates = [trial.fate for trial in shipped.trials]
    searched = (
        f"{counted(len(fates), 'trial')} of {counted(len(plan.arms), 'pair')} of trainer and base model "
        f"({fates.count('stopped')} stopped early, {fates.count('failed')} failed), by {plan.sampler} and "
        f"{plan.scheduler} with seed {plan.seed}, in {format_seconds(shipped.wall_seconds)}"
    )
    made_with = ", ".join(f"{name} {version}" for name, version in shipped.versions.items())
    has_probabilities = task_kind(shipped.task.kind).output is Output.LABEL
    changed = {name for name, value in winner.config.items() if arm.default.get(name) != value}
    rows = (
        [code(name), code(_shown(value)), "tuned" if name in changed else "default"]
        for name, value in told_settings(winner.config, named=plan.data.named is not None).items()
    )
    return [
        f"* Trainer: {escaped(arm.trainer)}.",
        f"* Base model: {' and '.join(dict.fromkeys(map(_start, shipped.arms)))}.",
        f"* Search: {escaped(searched)}.",
        f"* Model: {escaped(shipped.refit.reason)}.",
        *([f"* Ensemble: {escaped(shipped.ensemble.reason)}."] if shipped.ensemble.reason else []),
        *([f"* Probabilities: {escaped(shipped.calibration.reason)}."] if has_probabilities else []),
        f"* Made with {escaped(made_with)}.",
        "",
        *table(["setting", "value", "from"], rows),
    ]


def _limits(shipped: Shipped) -> list[str]:
    kind, group = task_kind(shipped.task.kind), shipped.task.group_column
    between = "rows" if group is None else f"groups of rows by {code(shortened(group))}"
    lines = [
        f"The intervals say how much the scores may vary between {between} like those scored; they say nothing of "
        "other data."
    ]
    if shipped.proof.selected_on:
        lines.append("There were too few rows to set some aside. On new rows expect less than the score above.")
    if shipped.winner.trained:
        lines.append(f"It was {shipped.winner.trained}. There was no time for more, which may have helped.")
    lines += _cut(shipped.arm, kind.input)
    lines += _CAUTIONS.get(kind.output, ())
    return [f"* {text}" for text in lines]


def _cut(arm: Arm, input: Input) -> list[str]:
    # An arm that was not timed leaves it to its trainer, which does not say.
    if arm.max_length is None:
        return []
    if input is Input.IMAGE:
        return [f"Images are brought to {arm.max_length} pixels a side; what is smaller than that shows is not seen."]
    if input is Input.TOKENS:
        return [f"Rows of more than {arm.max_length} tokens are read in several windows."]
    return [f"Rows are cut at {arm.max_length} tokens; what follows is not read."]


#: What to expect of each output, however good the score.
_CAUTIONS: Mapping[Output, tuple[str, ...]] = {
    Output.LABEL: (
        "It answers with one of its labels for every row, also where none fits. Its probabilities need not be the "
        "shares of right answers.",
    ),
    Output.LABELS: (
        "A label is predicted from its threshold on, and those were chosen on validation rows. No label at all is an "
        "answer too; labels that the data lack are never one.",
    ),
    Output.NUMBER: (
        "It knows the numbers of its training rows: beyond their range, expect it to stay near its edge. It does not "
        "say how sure it is.",
    ),
    Output.TOKEN_LABELS: (
        "It finds entities of these types alone, and of each best in such text as it was trained on; names that it "
        "never met are missed more often.",
    ),
    Output.TEXT: (
        "What it writes may be wrong, or harmful, and sound sure. It keeps what its base model and its training rows "
        "hold, private matters included. It answers greedily, and up to a length that nearly all training answers had.",
    ),
}


def _base(arm: Arm) -> str:
    """Returns the base model as others may know it; of a folder the name alone, as its path is nobody's business."""
    known = is_on_hub(arm) or not arm.base_model.pretrained
    return code(arm.base_model.id) if known else f"the local model {code(Path(arm.base_model.id).name)}"


def _origin(arms: Sequence[Arm]) -> str:
    bases = " and ".join(dict.fromkeys(map(_base, arms)))
    made = "without a base model" if arms[0].base_model == NO_MODEL else f"from {bases}"
    return f"Made {made} by autosft."


def _start(arm: Arm) -> str:
    """Returns what the training began with."""
    if arm.base_model == NO_MODEL:
        return "none; all that it knows comes from these rows"
    if not arm.base_model.pretrained:
        return f"{_base(arm)}; a network without pretrained weights"
    licence = licence_of(arm)
    known = escaped(f"weights under the licence {licence}") if licence else "weights whose licence is not known here"
    return f"{_base(arm)}; {known}"


def _interval(interval: Interval) -> str:
    if math.isnan(interval.low) or math.isnan(interval.high):
        return "without a 95 % interval"
    return f"95 % interval {interval.low:.4f} to {interval.high:.4f}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _fenced(example: str) -> list[str]:
    return ["```python", example, "```"]
