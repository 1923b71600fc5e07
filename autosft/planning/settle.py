"""Puts a plan together from checked data and timed arms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from autosft.budget import Budget
from autosft.data.data import Data, Rows
from autosft.data.finding import Finding, Severity
from autosft.inputs import prompts
from autosft.inputs.text import MAX_TOKENS, count_tokens
from autosft.planning.division import Lengths, Means, fit_lengths
from autosft.planning.machine import MAX_THREADS
from autosft.planning.plan import Arm, DataOrigin, Plan, Quote, Resources, refit_factor
from autosft.planning.reach import with_quick_validation
from autosft.prepare import Prepared
from autosft.task import Task
from autosft.tasks import kind as task_kind
from autosft.trainers.base import NUM_CUT_ROWS, Cost

#: A model that knows less of the tokens than the rest of this was not made for the text.
_MANY_UNKNOWN = 0.01
#: Rows whose tokens are counted where nothing is timed, or their characters where there is no tokenizer to ask; and the
#: characters a token that is counted has at most, so that a few books among the rows do not hold up the plan.
_TOKENISED_ROWS, _SAMPLE_ROWS, _TOKEN_CHARACTERS = 100, 1000, 16

#: What an optimizer step takes however small the model, and the parameters below which it gets no quicker: measured on
#: two busy cores, models of 0.008 and 0.26 million took 0.011 s (`transformers`) and 0.05 s (`trl`) for a batch of few
#: tokens, and the latter 0.27 s for one of 1,600, where 6 operations a parameter would take 0.03 s. So decoders of that
#: size are quoted within a factor of three, while an encoder of a few thousand parameters is quoted at ten times.
_LEAST_STEP_SECONDS, _LEAST_PARAMETERS = 0.02, 1e6

#: Seconds to read a row, by which a model without parameters is quoted.
_READING_SECONDS = 1e-3

#: What an encoder puts around a text, and the first code point of Chinese, Japanese and Korean.
_SPECIAL_TOKENS, _FIRST_WIDE = 2, 0x2E80


def settle(
    prepared: Prepared,
    arms: Sequence[Arm],
    resources: Resources,
    *,
    origin: DataOrigin,
    budget: Budget,
    scheduler: str,
    sampler: str,
    seed: int,
    reasons: Sequence[str],
    spent_seconds: float,
) -> Plan:
    """Puts the plan together: divides the budget among the arms, and says what it will cost.

    Args:
        arms: Timed where there was time to; the others get a rough cost.
        spent_seconds: What the run has spent so far.
    """
    machine = resources.machine
    limit = budget.wall_seconds(machine.gpus)
    seconds_left = None if limit is None else limit - spent_seconds
    train, validation = prepared.data.training(0)
    kind, targets = task_kind(prepared.task.kind), train.targets()
    num_validation = len(validation) if validation is not None else 0
    timed = frozenset(arm.name for arm in arms if arm.cost)
    costed = [
        arm if arm.cost else replace(arm, cost=_rough_cost(arm, train, num_validation=num_validation, on=resources))
        for arm in arms
    ]
    known = [arm for arm in arms if arm.cost] or costed
    data, quick = with_quick_validation(prepared.task, prepared.data, known, seconds_left)

    def divided(seconds_left: float | None) -> Lengths:
        return _lengths(
            prepared.task, data, costed, resources, budget=budget, scheduler=scheduler, seconds_left=seconds_left
        )

    lengths, other_budgets = divided(seconds_left), ""
    if limit is not None and seconds_left is not None:
        less, more = divided(max(1.0, limit / 3 - spent_seconds)).buys, divided(3 * limit - spent_seconds).buys
        same = less == more == lengths.buys
        other_budgets = "" if same else f"a third of this budget would buy {less}, three times as much {more}"
    return Plan(
        task=prepared.task,
        origin=origin,
        data=data,
        findings=(*prepared.findings, *_reading(lengths.arms, data.parts["search"], timed)),
        arms=lengths.arms,
        facts={**kind.facts(prepared.task, targets), "named_classes": data.named is not None},
        budget=budget,
        refit=lengths.refit,
        soup=lengths.soup,
        finals_share=lengths.finals_share,
        scheduler=scheduler,
        sampler=sampler,
        resources=resources,
        seed=seed,
        quote=_quote(lengths, resources, spent_seconds=spent_seconds, timed=timed),
        reasons=tuple(
            filter(None, (*prepared.reasons, *quick, kind.convention, *reasons, *lengths.reasons, other_budgets))
        ),
    )


def with_more(
    plan: Plan, more: Budget, *, spent_seconds: float, num_trials_done: int, keep_limits: bool = False
) -> Plan:
    """Returns a plan that a run goes on by with more budget: what did not fit before may race now.

    Args:
        spent_seconds: What the run has spent. num_trials_done: Trials that ended.
        keep_limits: As for `Budget.plus`.
    """
    num_gpus = plan.resources.machine.gpus
    budget = plan.budget.plus(
        more,
        spent_seconds=spent_seconds,
        num_trials_done=num_trials_done,
        num_gpus=num_gpus,
        keep_limits=keep_limits,
    )
    plan = plan.with_budget(budget)
    arms = [replace(arm, fidelity=1.0, rungs=(1.0,)) for arm in plan.arms]
    limit = budget.wall_seconds(num_gpus)
    lengths = _lengths(
        plan.task,
        plan.data,
        arms,
        plan.resources,
        budget=budget,
        scheduler=plan.scheduler,
        seconds_left=None if limit is None else limit - spent_seconds,
    )
    # The finals' share is one of the whole budget, and only what is left of that is divided here.
    left = 0.0 if limit is None else max(0.0, limit - spent_seconds) / limit
    plan = replace(plan, finals_share=left * lengths.finals_share)
    races = any(len(arm.rungs) > 1 for arm in lengths.arms)
    # An arm that was tried belongs to the run, however little time there is now; and a race that began goes on, since
    # the best of what was trained for a short time is worth more than what nothing is known of.
    if {arm.name for arm in lengths.arms} != {arm.name for arm in plan.arms} or (plan.races and not races):
        return plan
    by_name = {arm.name: arm for arm in lengths.arms}
    chosen = [_as_long(by_name[arm.name], arm) if plan.races else by_name[arm.name] for arm in plan.arms]
    return replace(plan, arms=tuple(chosen), refit=lengths.refit, soup=lengths.soup)


def _as_long(arm: Arm, before: Arm) -> Arm:
    """Returns an arm that races no less far than before: what is shorter could never win over what was longer."""
    return replace(arm, rungs=before.rungs) if before.rungs[-1] > arm.rungs[-1] else arm


def _lengths(
    task: Task,
    data: Data,
    arms: Sequence[Arm],
    resources: Resources,
    *,
    budget: Budget,
    scheduler: str,
    seconds_left: float | None,
) -> Lengths:
    """Divides what is left of a budget among arms whose cost is known."""
    train, kind = data.training(0)[0], task_kind(task.kind)
    held_out = data.held_out()
    rates = [arm.cost.predict_rows_per_second for arm in arms if arm.cost]
    means = Means(
        budget,
        seconds_left,
        closing_seconds=closing_seconds(len(held_out[1]) if held_out else 0, rates, seconds_left),
        refit_factor=refit_factor(data),
        rows_per_class=kind.rows_per_class(task, train.targets()),
        num_rows=len(train),
        max_concurrent=resources.max_concurrent,
        scheduler=scheduler,
    )
    return fit_lengths(arms, means)


def closing_seconds(
    num_rows: int, rows_per_second: Sequence[float], seconds_left: float | None, *, num_models: int = 3
) -> float:
    """Predicts what proof and writing take: loading models, and their pass over the held-out rows.

    Never more than a third of the time left: where that is too little, the proof sees a sample of the rows.
    """
    slowest = min(rows_per_second, default=100.0)
    predicted = 8.0 + num_models * num_rows / slowest
    return predicted if seconds_left is None else min(predicted, max(0.0, seconds_left) / 3)


def _quote(lengths: Lengths, resources: Resources, *, spent_seconds: float, timed: Collection[str]) -> Quote:
    """Words the cost of a run: what was spent up to now and what is to come; `timed` are names of arms."""
    wall = spent_seconds + lengths.wall_seconds
    cpus = resources.cpus_per_trial * resources.max_concurrent
    gpus = resources.gpus_per_trial * resources.max_concurrent
    untimed = tuple(arm.name for arm in lengths.arms if arm.name not in timed)
    named = untimed if len(untimed) < len(lengths.arms) else ()
    return Quote(wall, cpus * wall / 3600, gpus * wall / 3600, lengths.num_trials, not untimed, named)


def _reading(arms: Sequence[Arm], num_rows: int, timed: Collection[str]) -> list[Finding]:
    """Says what each base model makes of the rows, once, as trainers of one model read alike."""
    by_model = {arm.base_model.id: arm for arm in arms}
    by_model |= {arm.base_model.id: arm for arm in arms if arm.name in timed}
    found = [_cut_off(arm, num_rows, timed) for arm in by_model.values()]
    return list(filter(None, (*found, *map(_unknown_tokens, by_model.values()))))


def _cut_off(arm: Arm, num_rows: int, timed: Collection[str]) -> Finding | None:
    """Says how many rows are cut, and which are the first."""
    cost = arm.cost
    if cost is None or not cost.share_cut:
        return None
    about = "" if arm.name in timed else "about "
    message = f"{about}{cost.share_cut:.1%} of the rows are longer than {cost.max_length} tokens of {arm.base_model.id}"
    severity = Severity.WARNING if cost.share_cut > 0.05 else Severity.INFO
    examples = tuple(f"row {row}" for row in cost.cut_rows)
    count = max(1, round(cost.share_cut * num_rows))
    return Finding("cut-off", severity, message, count, examples, "what does not fit is cut off", True)


def _unknown_tokens(arm: Arm) -> Finding | None:
    """Says where a model has no word for much of the text: it is then read as if that were not there."""
    share = arm.cost.share_unknown if arm.cost else 0.0
    if share <= _MANY_UNKNOWN:
        return None
    message = f"{arm.base_model.id} has no word for {share:.0%} of the rows' text: it was made for other text"
    advice = "name a model for this language or alphabet with models="
    return Finding("unknown-tokens", Severity.WARNING, message, 0, (), advice, False)


def _rough_cost(arm: Arm, train: Rows, *, num_validation: int, on: Resources) -> Cost:
    """Estimates a cost from the base-model table, within a factor of three: a fixed rate of floating-point operations.

    A training step takes about 6 operations per parameter and token, a forward pass 2 (Kaplan et al., arXiv
    2001.08361). The rates are 40 billion a second and core, and 40 trillion on a GPU, of which a
    training uses one.
    """
    base = arm.base_model
    rate = 4e13 if on.gpus_per_trial else 4e10 * min(on.cpus_per_trial, MAX_THREADS)
    longest = min(base.context_tokens, prompts.MAX_TOKENS if base.generates else MAX_TOKENS)
    forward, facts = _READING_SECONDS, _Facts()  # What has no parameters still has to read its rows.
    if base.num_parameters:
        tokens, facts = _rough_tokens(train, longest, Path(arm.folder))
        forward = 2 * max(base.num_parameters, _LEAST_PARAMETERS) * tokens / rate
    epochs = arm.default.get("num_train_epochs", 0)
    steps = epochs * -(-len(train) // arm.default.get("batch_size", len(train)))
    training = max(3 * epochs * len(train) * forward, steps * _LEAST_STEP_SECONDS)
    run_seconds = training + (len(train) + num_validation) * forward
    return Cost(1.0, run_seconds, 1 / forward, None, longest or None, **facts._asdict())


class _Facts(NamedTuple):
    """What a sample of the rows tells of reading them; fields as those of `Cost`."""

    share_cut: float = 0.0
    share_unknown: float = 0.0
    cut_rows: tuple[int, ...] = ()


def _texts(rows: pa.Table) -> list[str] | None:
    """Returns all that is read of each row, and what is to be written after it; None where rows hold no text."""
    types = dict(zip(rows.schema.names, rows.schema.types, strict=True))
    # Tokens of a text stand beside it, and what is to be written stands in a conversation already.
    names = [name for name in ("text", "text_pair") if name in types]
    names = names or [name for name in ("tokens", "messages") if name in types][:1]
    if not names:
        return None
    if "messages" not in names and pa.types.is_string(types.get("target", pa.null())):
        names.append("target")
    columns = [rows.column(name).to_pylist() for name in names]
    return ["\n".join(map(_text, row)) for row in zip(*columns, strict=True)]


def _text(value: str | list[Any] | None) -> str:
    if isinstance(value, list):
        return " ".join(part["content"] if isinstance(part, dict) else str(part) for part in value)
    return value or ""


def _rough_tokens(rows: Rows, longest: int, folder: Path) -> tuple[float, _Facts]:
    """Returns the mean tokens of a sample of rows, by the base model's tokenizer; `longest` where they hold no text.

    And what these rows tell else, where there is a tokenizer.

    Without a tokenizer, a token is about 4 characters of Latin script (measured with the vocabulary of MiniLM: 3.6 on
    the documentation of Python, 3.5 on this repository's), and 1 of Chinese, Japanese or Korean (likewise, on
    translated messages of programs: 1.3, 1.3 and 0.9).
    """
    sample = _sample(rows, _TOKENISED_ROWS)
    texts, facts = _texts(sample), _Facts()
    if texts is None:
        return float(longest), facts
    counted = count_tokens(folder, [text[: _TOKEN_CHARACTERS * longest] for text in texts])
    if counted is not None:
        counts = counted.lengths
        # Of words that carry labels each is read, in as many windows as it takes.
        cut = np.flatnonzero(np.array(counts) > longest) if "tokens" not in sample.column_names else np.zeros(0, int)
        numbers = sample.column("row").to_pylist() if "row" in sample.column_names else []
        named = tuple(numbers[at] for at in cut[:NUM_CUT_ROWS] if numbers)
        facts = _Facts(len(cut) / max(1, len(counts)), counted.share_unknown, named)
    else:
        counts = []
        for text in _texts(_sample(rows, _SAMPLE_ROWS)) or []:
            points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            wide = int((points >= _FIRST_WIDE).sum())
            counts.append(_SPECIAL_TOKENS + wide + (len(points) - wide) // 4)
    return float(np.minimum(counts, longest).mean()), facts


def _sample(rows: Rows, number: int) -> pa.Table:
    """Returns so many rows at most, spread evenly."""
    some = np.linspace(0, len(rows) - 1, min(len(rows), number), dtype=np.int64)
    return Rows(rows.path, some if rows.indices is None else rows.indices[some]).table()
