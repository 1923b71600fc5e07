"""The Result: the plan, all trials, the proof, and a Predictor. What `fit` returns and `result.json` keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosft.budget import format_seconds
from autosft.counting import counted
from autosft.errors import RunFolderError, explain
from autosft.planning.plan import Plan
from autosft.predictor import Predictor
from autosft.run_folder import RunFolder, default_won
from autosft.search.choice import in_order, were_tuned
from autosft.search.finals import SAME_LENGTH
from autosft.search.trial import Trial, TrialLog
from autosft.task import Output
from autosft.tasks import kind as task_kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

#: Trials that are printed with a result.
_NUM_SHOWN = 8


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        folder: The run's folder.
        plan: Every decision that was made before the search.
        trials: Every trial, in the order in which they ended.
        summary: The content of `result.json`.
    """

    folder: Path
    plan: Plan
    trials: tuple[Trial, ...]
    summary: Mapping[str, Any]

    @staticmethod
    def load(folder: str | Path) -> Result:
        """Reads a finished run, also where a metric of the user's own can no longer be imported.

        Raises:
            RunFolderError: It is not a run's folder, or the run did not finish.
        """
        run = RunFolder.open(folder)
        if not run.result.exists():
            wrong = f"{run.path} holds an unfinished run"
            raise RunFolderError(explain(wrong=wrong, expected="a finished one", fix=f"autosft resume {run.path}"))
        trials = tuple(TrialLog(run.trials).trials())
        found = Result(run.path, Plan.from_json(run.read(run.plan), strict=False), trials, run.read(run.result))
        try:
            # What others read of it is all there if a person can be told.
            _, _ = str(found), repr(found)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            wrong = f"{run.result} is damaged ({type(error).__name__}: {error})"
            fix = "restore the file, or remove it and `autosft resume`: the trials are kept"
            raise RunFolderError(explain(wrong=wrong, expected="the result as it was written", fix=fix)) from error
        return found

    @cached_property
    def predictor(self) -> Predictor:
        """The shipped model, whose weights are read once."""
        return Predictor.load(self.folder / "model")

    @property
    def report(self) -> Path:
        """The report: one HTML file that opens in any browser, without a network."""
        return RunFolder(self.folder).report

    @property
    def best(self) -> Trial:
        """The winning trial."""
        return next(trial for trial in self.trials if trial.number == self.summary["best"]["trial"])

    @property
    def leaderboard(self) -> pd.DataFrame:
        """Every trial, best first, with the 95 % interval of its score over the validation rows.

        Below those that could win stand shorter trainings, repetitions for the finals, and what was stopped or failed.
        """
        import pandas as pd

        places = {trial.number: at for at, trial in enumerate(self._ranked())}
        rows = [
            {
                "trial": trial.number,
                "arm": trial.arm,
                "default": trial.is_default,
                "stage": trial.stage,
                "fate": trial.fate,
                "score": trial.score,
                "low": trial.interval[0] if trial.interval else None,
                "high": trial.interval[1] if trial.interval else None,
                "loss": trial.loss,
                "fidelity": trial.reached,
                "seconds": round(trial.seconds.get("total", 0.0), 1),
                **trial.config,
            }
            for trial in self.trials
        ]
        frame = pd.DataFrame(rows).sort_values("trial", key=lambda numbers: numbers.map(places))
        return frame.reset_index(drop=True)

    def _ranked(self) -> list[Trial]:
        return in_order(self.trials, self.plan.task.metric.greater_is_better)

    def predict(self, rows: object) -> list[Any]:
        """Returns one prediction a row; see `Predictor.predict`."""
        return self.predictor.predict(rows)

    def predict_proba(self, rows: object) -> NDArray[np.float32]:
        """Returns probabilities; see `Predictor.predict_proba`."""
        return self.predictor.predict_proba(rows)

    def predict_table(self, rows: object) -> pa.Table:
        """Returns the rows with predictions added; see `Predictor.predict_table`."""
        return self.predictor.predict_table(rows)

    def __repr__(self) -> str:
        won, metric = self.summary["best"], self.summary["metric"]
        score = f"{metric} {_defined(self.summary['test']['score']):.4f}"
        what = f"{self.summary['kind']}, {won['trainer']} on {won['model']}, {score}"
        return f"Result({str(self.folder)!r}: {' '.join(what.split())})"

    def __str__(self) -> str:
        return "\n".join([*_leaders(self), "", *_verdict(self)])


def _leaders(result: Result) -> list[str]:
    metric = result.plan.task.metric.name
    searched = [trial for trial in result._ranked() if trial.stage == "search"]
    # Where the untuned default won, many may have been better on the rows that the search chose by.
    won = [trial for trial in searched[_NUM_SHOWN:] if trial.number == result.summary["best"]["trial"]]
    shown = [*searched[: _NUM_SHOWN - len(won)], *won]
    lines = [f"{'trial':>5}  {metric:>9}  {'95 % interval':<25} {'seconds':>8}  arm"]
    for trial in shown:
        score = "" if trial.score is None else f"{trial.score:.4f}"
        interval = f"[{trial.interval[0]:.4f}, {trial.interval[1]:.4f}]" if trial.interval else trial.fate
        if trial.fate == "complete":
            interval += trial.length
        name = trial.arm + (" (default)" if trial.is_default else "")
        mark = "  <- won" if trial.number == result.summary["best"]["trial"] else ""
        seconds = trial.seconds.get("total", 0.0)
        lines.append(f"{trial.number:>5}  {score:>9}  {interval:<25} {seconds:>8.1f}  {name}{mark}")
    hidden = len(result.trials) - len(shown)
    return lines + ([f"       and {hidden} more: result.leaderboard"] if hidden > 0 else [])


def _verdict(result: Result) -> list[str]:
    summary = result.summary
    test = summary["test"]
    sampled = f" (a random sample of {test['num_rows_given']:,}: there was no time for more)"
    sample = sampled if test["num_rows"] < test["num_rows_given"] else ""
    where = {
        "test": f"{test['num_rows']:,} test rows",
        "proof": f"{test['num_rows']:,} rows set aside for proof",
        "folds": f"{test['num_rows']:,} validation rows, which the search also chose by"
        + (", of the winner alone" if summary.get("ensemble", {}).get("done") else "")
        + (", before it was trained on them too" if summary["refit"]["done"] else ""),
    }[test["rows"]] + sample
    best_row = summary["best"]
    changed = ", ".join(f"{key}={_short(value)}" for key, value in best_row["changed"].items()) or "its untuned default"
    won = next((trial for trial in result.trials if trial.number == best_row["trial"]), None)
    if won is not None and won.trained:
        changed += f"; {won.trained}"
    test_low, test_high = map(_defined, test["interval"])
    lines = [
        f"Tried     {_tried(result.trials)} in {format_seconds(summary['seconds']['wall'])}",
        *_rung_lines(summary),
        f"Won       {best_row['trainer']} on {best_row['model']}: {changed}",
        f"Score     {summary['metric']} {_defined(test['score']):.4f} [{test_low:.4f}, {test_high:.4f}] on {where}"
        + _by_thresholds(result),
    ]
    if test.get("constant") is not None:
        bound = test_low if summary["greater_is_better"] else -test_high
        beats = bound > (test["constant"] if summary["greater_is_better"] else -test["constant"])
        scale = task_kind(result.plan.task.kind).knowing_nothing
        verdict = "" if beats else "; the model is not better than that beyond the noise"
        lines.append(f"For scale {test['constant']:.4f} comes of {scale}{verdict}")
    lines.append(f"Gain      {_gained(summary, result.trials)}")
    lines.append(f"Shipped   {result.folder / 'model'}: {summary['refit']['reason']}")
    if together := summary.get("ensemble", {}).get("reason"):
        lines.append(f"Ensemble  {together}")
    # Runs of earlier versions have none.
    if result.report.exists():
        lines.append(f"Report    {result.report}")
    return lines


def _by_thresholds(result: Result) -> str:
    """Says why the score is not the one that the same trial has above, on the same rows."""
    if result.summary["test"]["rows"] != "folds" or task_kind(result.plan.task.kind).output is not Output.LABELS:
        return ""
    return "; thresholds were chosen on these rows, and for a trial's score above on the other half of them"


def _gained(summary: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """Says what tuning added, by the content of `result.json`."""
    best, default, gain = summary["best"], summary["default"], summary["gain_over_default"]
    if default_won(summary):
        what = "tuning did not improve on it" if were_tuned(trials) else "only untuned defaults were trained"
        return f"none: the untuned default won, and {what}"
    if "trial" in default and default["trial"] is None:
        return "not known: no untuned default was trained to its end"
    low, high = map(_defined, gain["interval"])
    verdict = "proven better" if low > 0 else "not better than the default beyond the noise"
    verdict = "worse than the default beyond the noise" if high < 0 else verdict
    ran = default.get("fidelity", 1.0)
    if ran < SAME_LENGTH * best.get("fidelity", 1.0):
        verdict += f", but it was trained for {ran:.0%} of the full length only"
    over = f"the best untuned default ({default['trainer']})"
    if best["is_default"]:
        over = f"another untuned default ({default['trainer']}), the best on validation rows"
        below = ", which scored below that one here" if _defined(gain["score"]) < 0 else ""
        verdict += f"; what won is an untuned default itself{below}"
    return f"{_defined(gain['score']):+.4f} [{low:+.4f}, {high:+.4f}] over {over}: {verdict}"


def _tried(trials: Sequence[Trial]) -> str:
    fates = [trial.fate for trial in trials]
    parts = [f"{fates.count('stopped')} stopped early", f"{fates.count('failed')} failed"]
    searched = [trial for trial in trials if trial.stage == "search"]
    num_configs = len({trial.identity for trial in searched})
    if num_configs < len(searched):
        parts.insert(0, f"of {counted(num_configs, 'configuration')}")
    if len(searched) < len(trials):
        parts.insert(1, f"{len(trials) - len(searched)} in the finals")
    return f"{counted(len(trials), 'trial')} ({', '.join(parts)})"


def _rung_lines(summary: Mapping[str, Any]) -> list[str]:
    found = [row for row in summary.get("rungs", ()) if row["rank_correlation"] is not None]
    told = ", ".join(
        f"{row['from']:.0%} and {row['to']:.0%} of the length {row['rank_correlation']:.2f} "
        f"({row['num_configs']} configurations)"
        for row in found
    )
    return [f"Rungs     rank correlation of scores at {told}"] if told else []


def _defined(value: float | None) -> float:
    """Returns a number of `result.json`, where null stands for one that is not defined, as one that can be printed."""
    return math.nan if value is None else value


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
