"""A sweep of W&B's that autosft did not make, through the real SDK, from a server on the loopback."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator

import pytest
import yaml

import autosft
from autosft.errors import DataError

pytest.importorskip("wandb")
from wandb_api_stub import KEY, Api, run, served

SWEEP = """
method: random
metric: {name: val/acc, goal: maximize}
parameters:
  optimizer:
    parameters:
      lr: {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-3}
  batch: {values: [16, 32, 64]}
  api_key: {value: sk-123456}
"""


def score(rate: float) -> float:
    return 0.9 - 0.05 * (math.log10(rate) + 3) ** 2


def api() -> Api:
    draw, runs = random.Random(0), []
    for at in range(40):
        rate, crashed = 10 ** draw.uniform(-5, -3), at % 8 == 0
        config = {"optimizer": {"lr": rate}, "batch": draw.choice([16, 32, 64, "32"]), "api_key": "sk-123456",
                  "_wandb": {"cli_version": "0"}, "host": f"node{at}"}  # fmt: skip
        summary = {"val/acc": "NaN" if at == 9 else score(rate), "train/acc": 1.0, "_runtime": 300.0, "_step": 7}
        runs.append(
            run(f"run-{at}", config, {} if crashed else summary, state="crashed" if crashed else "finished",
                sweepName="random", group="night", createdAt=f"2026-01-01T0{at // 6}:{at % 6}0:00Z",
                heartbeatAt=f"2026-01-01T0{at // 6}:{at % 6}2:00Z")
        )  # fmt: skip
    return Api({"random": SWEEP, "wordless": "{method: random}"}, runs)


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    import wandb

    made = api()
    with served(made) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", url)
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("WANDB_SILENT", "true")
        wandb.teardown()
        yield made
        wandb.teardown()


def test_a_sweep_of_wandbs(server: Api) -> None:
    found = autosft.review("lab/digits/random")
    overview = found.topic("sweep")[0]
    rates = [json.loads(node["config"])["optimizer"]["value"]["lr"] for node in server.runs]
    scored = [at for at in range(40) if at % 8 and at != 9]
    assert overview.numbers == {
        "trials": 40, "complete": 35, "stopped": 0, "failed": 5, "configurations": 40, "unscored": 1,
        "best": max(score(rates[at]) for at in scored),
        "best_trial": f"run-{max(scored, key=lambda at: score(rates[at]))}",
    }  # fmt: skip
    assert server.pages >= 2
    assert "optimizer.lr" in found.topic("importance")[0].sentence
    assert "sk-123456" not in json.dumps(found.to_json())
    # Five crashed two minutes in, thirty-five took five.
    assert found.topic("waste")[0].numbers["share"] == pytest.approx(5 * 120 / (5 * 120 + 35 * 300))
    edge = found.topic("edges")[0]
    assert (edge.numbers["field"], edge.numbers["side"], edge.numbers["bound"]) == ("optimizer.lr", "high", 1e-3)
    assert found.next_space is not None
    made = yaml.safe_load(found.next_space)
    assert made["parameters"]["optimizer"]["parameters"]["lr"]["max"] == pytest.approx(4e-3)


def test_a_group_of_runs_without_a_sweep(server: Api) -> None:
    found = autosft.review("lab/digits/night")
    notes = " ".join(claim.sentence for claim in found.topic("sweep"))
    assert "'val/acc' was taken for what decides" in notes
    assert "secrets: api_key" in notes
    assert "crowds against its highest value tried" in found.topic("edges")[0].sentence


@pytest.mark.parametrize("path", ["lab/digits/gone", "lab/nothing", "wandb:lab/digits/gone"])
def test_what_is_not_there_is_said(server: Api, path: str) -> None:
    with pytest.raises(DataError, match=r"W&B|gave no answer") as caught:
        autosft.review(path)
    assert "sk-" not in str(caught.value) and KEY not in str(caught.value)
