"""Replays searches over recorded learning curves, with a simulated clock, and judges what each would have shipped.

    python benchmarks/replay/simulate.py                 # every strategy and ablation, a few minutes on one core
    python benchmarks/replay/simulate.py --only race,full_runs --searches 50 --dry
    python benchmarks/replay/simulate.py --scale         # ten thousand configurations on a thousand workers

A search sees validation scores alone. What it ships is judged by test accuracy at full length, mean of the recorded
seeds: regret is what the best recorded configuration has more. Compute is counted in full runs. Appends a JSON line a
strategy, set and budget to results/replay.jsonl.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import scale
from numpy.typing import NDArray
from scipy.stats import spearmanr
from strategies import Setting, Strategy, World, asha, full_runs, halving, one_epoch, race
from tables import DEFAULT, METRICS, Neighbours, Table, load

from autosft.finish import package_versions
from autosft.search.race import RUNGS

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parent / "results" / "replay.jsonl"
BUDGETS = (3.0, 5.4, 9.0, 13.0, 27.0)
#: Optuna knows a hundred trials by 27 runs, which takes seconds a search, and has drawn all of the table by then.
OPTUNA_BUDGETS = BUDGETS[:-1]
#: Where the curve of regret over compute is read off.
CURVE = (2.0, 2.5, 3.0, 4.0, 5.4, 7.0, 9.0, 11.0, 13.0, 17.0, 22.0, 27.0)
TARGET = "full_runs"
#: Sets that no choice was made by: they stand by themselves, and are in no mean.
CHECKS = ("snips",)
LONG, NINTHS, ALL = (2, 3), (1, 2, 3), (0, 1, 2, 3)

#: Races by name. Those whose proposer is Optuna take a second each and are replayed less often.
RACES = {
    "race": Setting(),
    "race_as_shipped": Setting(sampler="half"),
}
#: What a part of the race is worth: everything else as it is.
ABLATIONS = {
    "default_only": Setting(rates=False),
    "fresh_head": Setting(fresh=(3.0,)),
    "best_third_alone": Setting(opening=None),
    "ranked_together": Setting(grouped=False),
    "by_accuracy": Setting(promote="validation"),
    "by_calibrated": Setting(promote="calibrated"),
    "first_27th": Setting(rungs=ALL),
    "first_third": Setting(rungs=LONG),
    "only_full": Setting(rungs=(3,), patience_runs=None),
    "eta_2": Setting(eta=2),
    "eta_4": Setting(eta=4),
    "cut_off": Setting(curve="cut-off"),
    "cut_off_resumed": Setting(curve="resumed"),
    "patience_none": Setting(patience_runs=None),
    "patience_12": Setting(patience_runs=12.0),
    "patience_6": Setting(patience_runs=6.0),
    "draws_random": Setting(sampler="random"),
    "draws_tpe": Setting(sampler="tpe"),
    "finalists_2": Setting(finalists=2),
    "workers_2": Setting(workers=2),
}
BASELINES: dict[str, Strategy] = {
    TARGET: full_runs,
    "asha": asha(),
    "asha_default_first": asha(default_first=True),
    "asha_grace_9th_default_first": asha(grace=3, default_first=True),
    "halving": halving(),
    "halving_first_9th": halving(first=1),
    "one_epoch": one_epoch,
}
#: Whose regret is read off everywhere, so that it can be said where they come to what the target does.
CURVES = (TARGET, *RACES, "fresh_head", "best_third_alone")
STRATEGIES: dict[str, Strategy] = {
    **BASELINES,
    **{name: race(setting) for name, setting in {**RACES, **ABLATIONS}.items()},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=FOLDER, help="folder of the recorded tables")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*STRATEGIES], help="names of strategies")
    parser.add_argument("--searches", type=int, default=200, help="simulated searches a strategy, set and budget")
    parser.add_argument("--optuna-searches", type=int, default=50, help="the same where Optuna proposes")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="write no results")
    parser.add_argument("--scale", action="store_true", help="measure the race itself on synthetic scores instead")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    how = {"command": " ".join(["python", "benchmarks/replay/simulate.py", *_options(sys.argv[1:])])}
    how |= {"commit": commit(), "versions": package_versions()}
    rows = scale.measure() if arguments.scale else replay(load(arguments.tables), arguments.only, arguments)
    if not arguments.dry:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row | how) + "\n" for row in rows)
    for line in scale.lines(rows) if arguments.scale else lines(rows):
        print(line)


def _options(words: Sequence[str]) -> list[str]:
    """Returns the command line without where this machine keeps the tables."""
    return ["TABLES" if before == "--tables" else word for before, word in zip(["", *words], words, strict=False)]


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def replay(tables: Sequence[Table], names: Sequence[str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs every strategy on every set; returns the rows of the results."""
    tasks = []
    for table in tables:
        for name in names:
            num = arguments.optuna_searches if proposes_optuna(name) else arguments.searches
            curve = name in CURVES
            budgets = OPTUNA_BUDGETS if proposes_optuna(name) else CURVE if curve else BUDGETS
            tasks.append((table, name, num, budgets))
    if arguments.jobs > 1:
        with Pool(arguments.jobs) as pool:
            found = pool.starmap(run, tasks, chunksize=1)
    else:
        found = [run(*task) for task in tasks]
    outcomes = {(task[0].name, task[1]): outcome for task, outcome in zip(tasks, found, strict=True)}
    rows = [row for table in tables for row in correlations(table)]
    for (table, name, num, budgets), outcome in zip(tasks, found, strict=True):
        rows += [
            judge(table, outcome[budget]) | {"strategy": name, "budget": budget, "searches": num} | _setting(name)
            for budget in budgets
            if budget in outcome
        ]
    for name in names if TARGET in names else ():
        found_of = [outcomes[table.name, name] for table in tables]
        if name == TARGET or set(found_of[0]) != set(CURVE):
            continue
        targets = [outcomes[table.name, TARGET][CURVE[-1]] for table in tables]
        averaged = [i for i, table in enumerate(tables) if table.name not in CHECKS]
        for chosen in [[i] for i in range(len(tables))] + [averaged] * (len(averaged) > 1):
            row = {"what": "match", "set": " and ".join(tables[i].name for i in chosen), "strategy": name}
            row |= {"target": TARGET, "configs": sum(len(tables[i]) for i in chosen)}
            rows.append(row | matching([found_of[i] for i in chosen], [targets[i] for i in chosen]))
    return rows


def proposes_optuna(name: str) -> bool:
    setting = {**RACES, **ABLATIONS}.get(name)
    return name.startswith("asha") if setting is None else setting.sampler != "order"


def _setting(name: str) -> dict[str, Any]:
    setting = {**RACES, **ABLATIONS}.get(name)
    return {"setting": asdict(replace(setting, rungs=tuple(RUNGS[i] for i in setting.rungs)))} if setting else {}


Outcome = Mapping[str, NDArray[np.float64]]


def run(table: Table, name: str, num: int, budgets: Sequence[float]) -> dict[float, Outcome]:
    """Replays a strategy; returns by budget, with an entry a search, what was shipped and what it took."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    neighbours = Neighbours(table.configs)
    columns: dict[float, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(num):
        world = World.draw(table, neighbours, seed)
        for budget, seen in STRATEGIES[name](world, budgets).items():
            guarded = seen.guarded()
            column = columns[budget]
            column["test"].append(float(table.test[seen.best()]))
            column["guarded"].append(math.nan if guarded is None else float(table.test[guarded]))
            column["spent"].append(seen.spent)
            column["full"].append(len(seen.full))
            column["tried"].append(len(seen.full.keys() | seen.shorter.keys()))
    return {budget: {key: np.array(values) for key, values in column.items()} for budget, column in columns.items()}


def judge(table: Table, outcome: Outcome) -> dict[str, Any]:
    """Returns what is reported of a strategy at a budget; accuracies in points of a hundred."""
    regret = 100 * (table.test.max() - outcome["test"])
    guarded = 100 * (table.test.max() - outcome["guarded"])
    sd = 100 * table.seed_sd
    limit = table.test[DEFAULT] - table.seed_sd / 2
    row = {
        "what": "search",
        "set": table.name,
        "configs": len(table),
        "seeds": [int(np.sum([len(scores) == num for scores in table.full])) for num in (1, 2, 3)],
        "seed_sd": sd,
        "regret": regret.mean(),
        "regret_error": regret.std(ddof=1) / math.sqrt(len(regret)) if len(regret) > 1 else math.nan,
        "regret_sds": regret.mean() / sd,
        "guarded_regret": guarded.mean(),
        "guarded_error": guarded.std(ddof=1) / math.sqrt(len(guarded)) if len(guarded) > 1 else math.nan,
        "below_default": math.nan if math.isnan(sd) else float(np.mean(outcome["test"] < limit)),
        "guarded_below_default": math.nan if math.isnan(sd + guarded.mean()) else np.mean(outcome["guarded"] < limit),
        **{f"mean_{key}": outcome[key].mean() for key in ("spent", "full", "tried")},
    }
    return {key: _rounded(value) for key, value in row.items()}


def matching(
    outcomes: Sequence[Mapping[float, Outcome]], targets: Sequence[Outcome], *, draws: int = 1000
) -> dict[str, Any]:
    """Returns the compute at which a mean test accuracy first reaches the target's, interpolated; None for never.

    The mean is that of the sets, given one by one. The interval is a bootstrap over the searches of both.
    """
    rng = np.random.default_rng(0)
    curves = [np.array([outcome[budget]["test"] for budget in CURVE]) for outcome in outcomes]
    goals = [target["test"] for target in targets]

    def crossing(searches: Sequence[Any]) -> float:
        mean = np.mean([curve[:, chosen].mean(axis=1) for curve, (chosen, _) in zip(curves, searches, strict=True)], 0)
        goal = np.mean([goal[chosen].mean() for goal, (_, chosen) in zip(goals, searches, strict=True)])
        return _crossing(CURVE, mean, float(goal))

    sizes = [(curve.shape[1], len(goal)) for curve, goal in zip(curves, goals, strict=True)]
    drawn = [crossing([tuple(rng.integers(size, size=size) for size in pair) for pair in sizes]) for _ in range(draws)]
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    row = {"runs": crossing([(slice(None), slice(None))] * len(sizes)), "low": float(low), "high": float(high)}
    return {key: _rounded(value) for key, value in row.items()}


def _crossing(budgets: Sequence[float], means: NDArray[np.float64], goal: float) -> float:
    reached = np.flatnonzero(means >= goal - 1e-12)
    if not len(reached):
        return math.inf
    at = int(reached[0])
    if at == 0:
        return budgets[0]
    share = (goal - means[at - 1]) / (means[at] - means[at - 1])
    return float(budgets[at - 1] + share * (budgets[at] - budgets[at - 1]))


def correlations(table: Table) -> list[dict[str, Any]]:
    """Returns how well each rung ranks configurations by test accuracy at full length, by curve and metric.

    The better half and fifth are taken by that accuracy itself, so what is left there is near ties, in part.
    """
    rows = []
    order = np.argsort(-table.test, kind="stable")
    parts = {"all": order, "better_half": order[: len(order) // 2], "best_fifth": order[: max(8, len(order) // 5)]}
    probed = [i for i in order if table.configs[i]["head"] == "mean-from-probe"]
    parts |= {"fitted_heads": np.array(probed), "fresh_heads": np.setdiff1d(order, probed)}
    for name, curves in (("annealed", table.annealed), ("cut-off", table.cut_off)):
        for metric in METRICS:
            for column, rung in enumerate(RUNGS):
                scores = curves[metric][:, column]
                row = {"what": "correlation", "set": table.name, "configs": len(table), "curve": name}
                row |= {"metric": metric, "rung": round(rung, 4)}
                for part, chosen in parts.items():
                    kept = chosen[~np.isnan(scores[chosen])] if len(chosen) else chosen
                    is_varied = len(kept) > 2 and np.ptp(scores[kept]) > 0
                    value = spearmanr(scores[kept], table.test[kept]).statistic if is_varied else math.nan
                    row[part] = _rounded(float(value))
                rows.append(row)
    return rows


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(float(value), 4) if math.isfinite(value) else None


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns tables for people: mean over the sets, then each set."""
    searches = [row for row in rows if row["what"] == "search" and row["budget"] in BUDGETS]
    sets = list(dict.fromkeys(row["set"] for row in searches))
    averaged = [row for row in searches if row["set"] not in CHECKS]
    found = ["Spearman of a rung's score with test accuracy at full length (all, better half, fitted, fresh heads)"]
    for row in rows:
        if row["what"] == "correlation" and row["rung"] < 1:
            parts = [row[part] for part in ("all", "better_half", "fitted_heads", "fresh_heads")]
            text = "  ".join("    -" if part is None else f"{part:5.2f}" for part in parts)
            found.append(f"  {row['set']:18} {row['curve']:9} {row['metric']:10} {row['rung']:.3f}  {text}")
    for name in (None, *sets):
        chosen = averaged if name is None else [row for row in searches if row["set"] == name]
        found += ["", f"regret in points, {name or 'mean over the sets'}: budget in full runs"]
        found.append(f"  {'strategy':30}" + "".join(f"{budget:>16g}" for budget in BUDGETS))
        for strategy in dict.fromkeys(row["strategy"] for row in chosen):
            for key, error in (("regret", "regret_error"), ("guarded_regret", "guarded_error")):
                cells = ""
                for budget in BUDGETS:
                    here = [row for row in chosen if (row["strategy"], row["budget"]) == (strategy, budget)]
                    is_there = here and all(row[key] is not None for row in here)
                    cells += f"{_mean(here, key, error):>16}" if is_there else f"{'-':>16}"
                found.append(f"  {strategy if key == 'regret' else '  guarded':30}" + cells)
            spent = [[row["mean_spent"] for row in chosen if (row["strategy"], row["budget"]) == (strategy, budget)]
                     for budget in BUDGETS]  # fmt: skip
            found.append(f"  {'  spent':30}" + "".join(f"{np.mean(s):16.1f}" if s else f"{'-':>16}" for s in spent))
    found += ["", "below the default by more than half a seed's sd, mean over the sets"]
    for strategy in dict.fromkeys(row["strategy"] for row in averaged):
        shares = [[row["below_default"] for row in averaged if (row["strategy"], row["budget"]) == (strategy, budget)]
                  for budget in BUDGETS]  # fmt: skip
        cells = "".join(f"{np.mean(s):8.2f}" if s and None not in s else f"{'-':>8}" for s in shares)
        found.append(f"  {strategy:30}" + cells)
    for name in RACES:
        found += ["", f"regret of a baseline less that of {name}, mean over the sets: above 0 the race is better"]
        for baseline in BASELINES:
            cells = "".join(f"{_difference(averaged, baseline, name, budget):>16}" for budget in BUDGETS)
            found.append(f"  {baseline:30}" + cells)
    for row in rows:
        if row["what"] == "match":
            runs, low, high = ("over 27" if row[key] is None else f"{row[key]:.1f}" for key in ("runs", "low", "high"))
            found.append(f"{row['set']}: {row['strategy']} matches 27 full runs after {runs} [{low}, {high}]")
    return found


def _difference(rows: Sequence[dict[str, Any]], one: str, other: str, budget: float) -> str:
    """Returns the difference of two strategies' regret on the sets where both could be run."""
    by_set = {(row["strategy"], row["set"]): row for row in rows if row["budget"] == budget}
    pairs = [(row, by_set[other, name]) for (strategy, name), row in by_set.items()
             if strategy == one and (other, name) in by_set]  # fmt: skip
    if not pairs:
        return "-"
    mean = float(np.mean([first["regret"] - second["regret"] for first, second in pairs]))
    errors = sum((row["regret_error"] or 0.0) ** 2 for pair in pairs for row in pair)
    return f"{mean:+.2f} ±{1.96 * math.sqrt(errors) / len(pairs):.2f}"


def _mean(rows: Sequence[dict[str, Any]], key: str, error: str) -> str:
    mean = float(np.mean([row[key] for row in rows]))
    half = 1.96 * math.sqrt(sum((row[error] or 0.0) ** 2 for row in rows)) / len(rows)
    return f"{mean:.2f} ±{half:.2f}"


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
