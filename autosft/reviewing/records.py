"""Trials that somebody logged, as a sweep: which column decides, which are hyperparameters, and which are results."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from autosft.errors import DataError, did_you_mean, explain
from autosft.intervals import Interval
from autosft.reviewing.columns import number
from autosft.reviewing.sweep import SEEDS, Bounds, Sweep, SweepTrial

#: What a column that decides is called, the likelier first; as a whole, or after "val", "eval" and the like.
_METRICS = (
    "score", "objective", "macro_f1", "f1_macro", "f1", "accuracy", "acc", "mcc", "roc_auc", "auroc", "auc",
    "average_precision", "exact_match", "rougel", "rouge", "bleu", "r2", "spearman", "pearson", "rmse", "mae", "mse",
    "perplexity", "ppl", "wer", "cer", "log_loss", "logloss", "nll", "loss", "error_rate", "value",
)  # fmt: skip
_VALIDATION = ("val", "valid", "validation", "eval", "dev")
_SEPARATED = r"[_/. -]"
#: Metrics of which less is better, by the end of their name.
_LESS = re.compile(r"(loss|error|error_rate|rmse|mae|mse|perplexity|ppl|wer|cer|nll|brier)$", re.IGNORECASE)
#: What else a result ends in; and what does where it is of some rows or of an end, and what it was averaged by.
_MEASURES = (*_METRICS, "precision", "recall", "brier", "runtime", "flos", "per_second", "score_low", "score_high")
_MEASURES_OF = (*_MEASURES, "error", "err", "time", "grad_norm", "map", "iou", "dice", "ndcg", "ece", r"top_?\d+")
_AVERAGED = r"macro|micro|weighted|samples|mean|std|top_?\d+"
#: What a result is called, or ends in; only numbers that are no whole ones count, as 16 and 32 are a `precision`.
#: Anything of validation rows is one, but under `train` and the like there are hyperparameters as often.
_RESULT = re.compile(
    rf"(^|{_SEPARATED})({'|'.join(_MEASURES)})$"
    rf"|^((best|final){_SEPARATED})?({'|'.join(_VALIDATION)}){_SEPARATED}"
    r"(?!(?:batch|rows|size|epochs|steps|file|path))"
    rf"|^(test|train|best|final){_SEPARATED}(.*{_SEPARATED})?({'|'.join(_MEASURES_OF)})({_SEPARATED}({_AVERAGED}))?$",
    re.IGNORECASE,
)
#: Secrets by their names, of which only that of a token may be a part of something else's, as in `token.dropout`.
_SECRET = re.compile(
    r"(api_?keys?(_id)?|(^|[_./])((access|private|secret|ssh|signing|encryption)_?keys?(_id)?|secrets?|passwords?|passwd"
    r"|passphrase|credentials?|bearer|authorization|netrc))($|[./])"
    r"|(^|[_./])token$",
    re.IGNORECASE,
)
#: Where a word of a name begins without a sign between: "openaiApiKey", "openAIAPIKey".
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\s-]+")

_NAMES = ("name", "trial", "trial_name", "trial_id", "run", "run_name", "run_id", "number", "id")
_STATES = ("state", "status", "fate")
_SECONDS = (
    "seconds", "duration_seconds", "train_seconds", "wall_seconds", "_runtime", "runtime", "train_runtime",
    "time_total_s", "elapsed", "duration", "wall_time", "walltime",
)  # fmt: skip
_BEGAN = ("began", "started", "start", "start_time", "started_at", "datetime_start", "created_at", "timestamp")
_ENDED = ("ended", "end", "end_time", "ended_at", "finished_at", "datetime_complete")
_MESSAGES = ("message", "error", "exception", "reason", "error_message", "failure")
_DEFAULTS = ("is_default", "default", "baseline", "is_baseline")
_LENGTHS = ("rung",)
_REACHED = ("fidelity",)
_STAGES = ("stage", "job_type")
_ROLES = (*_NAMES, *_STATES, *_SECONDS, *_BEGAN, *_ENDED, *_MESSAGES, *_DEFAULTS, *_LENGTHS, *_STAGES)
#: What loggers add by themselves, and what names an arm or a configuration rather than tunes it.
_ASIDE = (
    "step",
    "global_step",
    "epoch",
    "iter",
    "iteration",
    "training_iteration",
    "configuration",
    "metric",
    "arm",
    "fidelity",
)
#: How Optuna's and Ray's tables call their hyperparameters.
_PREFIXES = ("params_", "config/", "config.", "params.", "hp_", "hparams/")

_FATES = {
    "complete": ("complete", "completed", "finished", "done", "success", "succeeded", "terminated", "ok"),
    "failed": ("failed", "fail", "failure", "crashed", "error", "errored", "oom", "interrupted"),
    "stopped": ("stopped", "killed", "pruned", "preempted", "preempting", "cancelled", "canceled", "early_stopped"),
    "running": ("running", "pending", "waiting", "queued", "created"),
}


@dataclass(frozen=True)
class Record:
    """One logged trial: what it was given, what came of it, and what only the logger knows.

    Attributes:
        is_marked: Whether it says itself that it is a trial, and no row of data, by how it ended or its parameters.
    """

    config: Mapping[str, Any]
    results: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_marked: bool = False


def split_row(row: Mapping[str, Any], metric: str | None) -> Record:
    """Divides a row of a table into what a trial was given and what came of it."""
    prefix = next((prefix for prefix in _PREFIXES if any(str(key).startswith(prefix) for key in row)), None)
    config: dict[str, Any] = {}
    results: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for name, value in row.items():
        bare = str(name).strip()
        if prefix is not None and bare.startswith(prefix):
            config[bare.removeprefix(prefix)] = value
        elif metric is not None and bare == metric:
            results[bare] = value
        elif bare.casefold() in _ROLES or (bare.casefold() == "interval" and isinstance(value, list | tuple)):
            facts[bare.casefold()] = value
        elif prefix is not None and bare.casefold() not in SEEDS:
            results[bare] = value
        else:
            config[bare] = value
    is_marked = prefix is not None or _known_fate(_first(facts, _STATES)) is not None
    return Record(config, results, facts, is_marked)


def sweep_of(
    records: Sequence[Record],
    *,
    name: str,
    source: str,
    metric: str | None,
    goal: str | None,
    bounds: Mapping[str, Bounds] | None = None,
    declared: Mapping[str, Any] | None = None,
) -> Sweep:
    """Makes a sweep of logged trials.

    Args:
        metric: The column that decides; None finds one out and says so.
        goal: "maximize" or "minimize"; None goes by the metric's name and says so.
        bounds: Declared ranges by field.
        declared: A sweep's own parameters, by field: then these alone are hyperparameters.

    Raises:
        DataError: There is no trial, or the metric is no column.
    """
    if not records:
        wrong = f"{name} holds no trial"
        raise DataError(explain(wrong=wrong, expected="a row or a run a trial", fix="name another one"))
    notes: list[str] = []
    found = metric if metric is not None else _metric(records)
    # Where everything failed there is no score, and why it did is still worth a review.
    are_trials = source != "table" or any(record.is_marked for record in records)
    if found is None and source == "table" and are_trials:
        found = _metric(records, with_numbers=False)
    if metric is not None:
        notes += _check_metric(records, metric, name, source)
    elif found is not None:
        notes.append(f"'{found}' was taken for what decides, by its name; name another one with --metric.")
    elif not are_trials:
        raise _without_score(records, name)
    else:
        notes.append("No column looks like a score; name one with --metric.")
    greater = goal == "maximize" if goal else not _LESS.search(found or "")
    if goal is None and found is not None:
        way = "higher" if greater else "lower"
        notes.append(f"That {way} is better is by its name; --goal says otherwise.")
    fields, aside = _fields(records, found, declared or {})
    secrets = [field for field in aside if _is_secret(field)]
    results = [field for field in aside if field not in secrets]
    if secrets:
        notes.append(f"Left out, as their names are those of secrets: {', '.join(sorted(secrets))}.")
    if results and not declared:
        shown = ", ".join(sorted(results)[:8]) + (f" and {len(results) - 8} more" if len(results) > 8 else "")
        notes.append(f"Taken for results or labels and not for hyperparameters: {shown}.")
    trials = tuple(_trial(at, record, fields, found) for at, record in enumerate(records))
    if all(trial.began is not None for trial in trials):
        trials = tuple(sorted(trials, key=lambda trial: trial.began or 0.0))
    arms = {trial.arm for trial in trials}
    return Sweep(
        name=name,
        source=source,
        metric=found,
        greater_is_better=greater,
        trials=trials,
        notes=tuple(notes),
        bounds=dict.fromkeys(arms, bounds or {}),
    )


def _without_score(records: Sequence[Record], name: str) -> DataError:
    """Words why a table cannot be reviewed in which no column that is called like a score holds a number."""
    fix = "name the column of scores with --metric, or give a table with a row a trial"
    if (empty := _metric(records, with_numbers=False)) is not None:
        wrong = f"the column '{empty}' of {name} was taken for what decides, and holds no number"
        return DataError(explain(wrong=wrong, expected="a score for the trials that ended", fix=fix))
    wrong = f"no column of {name} looks like a score"
    return DataError(explain(wrong=wrong, expected="a table of trials, not of data to train on", fix=fix))


def _metric(records: Sequence[Record], *, with_numbers: bool = True) -> str | None:
    """Returns the likeliest column to decide: one that looks like a score on validation rows, by its name."""
    columns = [{**record.config, **record.results} for record in records]
    names = list({str(name): None for row in columns for name in row})
    scored = {name: sum(number(row.get(name)) is not None for row in columns) for name in names}
    candidates = []
    for name in names:
        folded = re.sub(_SEPARATED, "_", name.casefold())
        words = folded.removeprefix("final_").removeprefix("best_")
        bare = next((words.removeprefix(f"{way}_") for way in _VALIDATION if words.startswith(f"{way}_")), None)
        if (scored[name] or not with_numbers) and (bare or words) in _METRICS:
            candidates.append((bare is None, _METRICS.index(bare or words), -scored[name], name))
    return min(candidates)[-1] if candidates else None


def _check_metric(records: Sequence[Record], metric: str, name: str, source: str) -> list[str]:
    """Returns a note where a sweep of W&B's has no score; its runs say how they ended, and that is worth a review.

    Raises:
        DataError: The metric is no column, or a table has no number in it.
    """
    if any(_value(record, metric) is not None for record in records):
        return []
    names = list({str(key): None for record in records for key in (*record.results, *record.config)})
    # A run that did not come to its end logged no metric, so then nothing says that its name is wrong.
    is_expected = source == "table" or any(
        _known_fate(_first(record.facts, _STATES)) == "complete" for record in records
    )
    if metric not in names and is_expected:
        fix = did_you_mean(metric, names) if names else "log one"
        raise DataError(explain(wrong=f"{name} has no '{metric}'", expected="a column of scores", fix=fix))
    if source != "table":
        return [f"No run has a number in '{metric}'."]
    if not any(record.is_marked for record in records):
        wrong = f"no trial of {name} has a number in '{metric}'"
        raise DataError(explain(wrong=wrong, expected="a column of scores", fix="name another one with metric="))
    return []


def _value(record: Record, column: str | None) -> float | None:
    if column is None:
        return None
    return number(record.results.get(column, record.config.get(column)))


def _fields(
    records: Sequence[Record], metric: str | None, declared: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the hyperparameters among the columns of the configurations, and what is none."""
    names = list({str(name): None for record in records for name in record.config})
    known = [name for name in names if name in declared]
    if known:
        return tuple(name for name in known if name != "arm" and not _is_secret(name)), ()
    kept: list[str] = []
    aside: list[str] = []
    for name in names:
        values = [record.config[name] for record in records if record.config.get(name) is not None]
        bare = name.rpartition(".")[2].casefold()
        if name == metric or bare in SEEDS or bare in _ROLES or bare in _ASIDE or name.startswith("_"):
            continue
        is_result = bool(_RESULT.search(name)) and any(
            (found := number(value)) is not None and found != int(found) for value in values
        )
        (aside if is_result or _is_secret(name) or _is_label(values) else kept).append(name)
    return tuple(kept), tuple(aside)


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(_WORD.sub("_", name)))


def _is_label(values: Sequence[Any]) -> bool:
    """Whether a column holds another text, or another time, in nearly every trial."""
    words = [value for value in values if isinstance(value, str) and number(value) is None]
    times = [value for value in values if isinstance(value, datetime) or (number(value) or 0.0) > 1e9]
    return len(times) > len(values) / 2 or (len(words) > 20 and len(set(words)) > 0.9 * len(values))


def _trial(at: int, record: Record, fields: Sequence[str], metric: str | None) -> SweepTrial:
    facts = {str(key).casefold(): value for key, value in {**record.config, **record.results, **record.facts}.items()}
    score = _value(record, metric)
    seconds = number(_first(facts, _SECONDS))
    began, ended = _seconds(_first(facts, _BEGAN)), _seconds(_first(facts, _ENDED))
    if seconds is None and began is not None and ended is not None and ended >= began:
        seconds = ended - began
    if ended is None and began is not None and seconds is not None:
        ended = began + seconds
    message = _first(facts, _MESSAGES)
    length = _length(facts, _LENGTHS, 1.0)
    words = _text(_first(facts, _NAMES)) or f"{at + 1}"
    return SweepTrial(
        name=words[:80],
        config={name: record.config[name] for name in fields if _is_there(record.config.get(name))},
        score=score,
        fate=_fate(_first(facts, _STATES), score, message),
        arm=_text(facts.get("arm")) or "",
        length=length,
        reached=_length(facts, _REACHED, length),
        is_default=str(_first(facts, _DEFAULTS)).casefold() in {"true", "1", "1.0", "yes"},
        repeats="/".join(
            str(facts[name]) for name in sorted(facts) if name.rpartition(".")[2] in SEEDS and facts[name] is not None
        ),
        is_final=str(_first(facts, _STAGES)).casefold() == "finals",
        interval=_interval(facts, metric, score),
        seconds=seconds if seconds is not None and seconds >= 0 else None,
        began=began,
        ended=ended,
        message="" if number(message) is not None else _text(message) or "",
    )


def _length(facts: Mapping[str, Any], names: Sequence[str], otherwise: float) -> float:
    """Returns a share of a full training."""
    length = number(_first(facts, names))
    return length if length is not None and 0 < length <= 1 else otherwise


def _fate(state: Any, score: float | None, message: Any) -> str:
    # Without a word on it, a trial without a score is one that did not come to its end.
    return _known_fate(state) or ("complete" if score is not None else "failed")


def _known_fate(state: Any) -> str | None:
    """Returns the fate that a word of a logger's means; None where it means none."""
    word = str(state).rpartition(".")[2].strip().casefold() if state is not None else ""
    return next((fate for fate, names in _FATES.items() if word in names), None)


def _interval(facts: Mapping[str, Any], metric: str | None, score: float | None) -> Interval | None:
    for stem in dict.fromkeys(((metric or "").casefold(), "score", "ci")):
        low, high = number(facts.get(f"{stem}_low")), number(facts.get(f"{stem}_high"))
        if low is not None and high is not None and low <= high:
            return Interval(low, high)
    ends = facts.get("interval")
    if isinstance(ends, list | tuple) and len(ends) == 2:
        low, high = number(ends[0]), number(ends[1])
        if low is not None and high is not None and low <= high:
            return Interval(low, high)
    for stem in (f"{(metric or '').casefold()}_", ""):
        for name in ("stderr", "standard_error", "std_err"):
            error = number(facts.get(stem + name))
            if error is not None and score is not None and error > 0:
                return Interval.around(score, error)
    return None


def _first(facts: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((facts[name] for name in names if _is_there(facts.get(name))), None)


def _is_there(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str | None:
    return None if value is None else " ".join(str(value).split())


def _seconds(value: Any) -> float | None:
    """Returns a time as seconds since 1970, or as the number that it is."""
    if isinstance(value, str) and number(value) is None:
        try:
            value = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        except ValueError:
            return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return number(value)
