"""What the sweep is: how many trials, what decides, the best score, and what the reader had to assume."""

from __future__ import annotations

from autosft.counting import counted
from autosft.reviewing import words
from autosft.reviewing.claim import Claim
from autosft.reviewing.sweep import Sweep


def overview(sweep: Sweep) -> list[Claim]:
    """Returns what heads a review."""
    by_fate = {fate: sum(trial.fate == fate for trial in sweep.trials) for fate in ("complete", "stopped", "failed")}
    fates = [f"{num:,} {fate}" for fate, num in by_fate.items() if num]
    others = len(sweep.trials) - sum(by_fate.values())
    fates += [f"{others:,} not ended"] if others else []
    configs = len({trial.identity for trial in sweep.searched})
    finals = len(sweep.trials) - len(sweep.searched)
    unscored = sum(trial.fate == "complete" and not trial.is_scored for trial in sweep.trials)
    sentence = (
        f"{counted(len(sweep.trials), 'trial')} ({', '.join(fates) or 'none'}) of "
        f"{counted(configs, 'configuration')}"
        + (
            f", {finals} of them {'a repetition' if finals == 1 else 'repetitions'} for the final choice"
            if finals
            else ""
        )
        + (f"; {unscored} complete without a finite score" if unscored else "")
    )
    numbers = {"trials": len(sweep.trials), **by_fate, "configurations": configs, "unscored": unscored}
    if not sweep.ranked:
        return [
            Claim("sweep", f"{sentence}. No trial has a score, so nothing can be compared.", numbers, "bad"),
            *_notes(sweep),
        ]
    best = sweep.ranked[0]
    way = "higher" if sweep.greater_is_better else "lower"
    interval = f" {words.between(best.interval)}" if best.interval else ""
    arm = f", {best.arm}" if best.arm else ""
    sentence += (
        f". {sweep.metric or 'The score'} decides, {way} is better; the best is "
        f"{words.score(best.score or 0.0)}{interval} (trial {best.name}{arm})."
    )
    return [Claim("sweep", sentence, numbers | {"best": best.score, "best_trial": best.name}), *_notes(sweep)]


def _notes(sweep: Sweep) -> list[Claim]:
    return [Claim("sweep", note) for note in sweep.notes]
