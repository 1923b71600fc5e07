"""What columns of a log are taken for: hyperparameters, results, secrets, and numbers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from autosft.errors import DataError
from autosft.reviewing.claims import review
from autosft.reviewing.columns import number
from autosft.reviewing.records import Record, split_row, sweep_of
from autosft.reviewing.sweep import Sweep, flat


def table(rows: list[dict[str, Any]]) -> Sweep:
    records = [split_row(flat(row), None) for row in rows]
    return sweep_of(records, name="made", source="table", metric=None, goal=None)


def fields(row: dict[str, Any]) -> set[str]:
    """Returns which columns of rows such as this one are taken for hyperparameters."""
    return set(table([{**row, "acc": at / 10} for at in range(3)]).trials[0].config)


@pytest.mark.parametrize(
    "row",
    [
        {"train": {"lr": 1e-3, "dropout": 0.1, "weight_decay": 0.01, "loss_weight": 0.5}},
        {"test": {"temperature": 0.7}, "final": {"div_factor": 0.5}, "best": {"of": 1.5}},
        {"train_fraction": 0.5, "final_lr": 1e-5, "train/lr": 0.1, "test_size": 0.2},
    ],
)
def test_hyperparameters_are_not_taken_for_results_by_where_they_are_nested(row: dict[str, Any]) -> None:
    assert fields(row) == flat(row).keys()


@pytest.mark.parametrize(
    "name",
    [
        "train_loss", "train/loss", "train.acc", "train_runtime", "train_samples_per_second", "train/grad_norm",
        "train_time", "test_error", "test.f1_macro", "test_f1_weighted", "test/precision_macro", "best_score",
        "best_val_custom", "final_loss", "final_val_loss", "eval_custom", "val.iou", "test_top5", "test_acc_top_5",
        "train_loss_mean", "test_loss_std",
    ],
)  # fmt: skip
def test_results_are_known_by_their_names(name: str) -> None:
    assert fields({"lr": 0.1, name: 0.25}) == {"lr"}


def test_trials_that_differ_in_nested_hyperparameters_are_not_one_configuration() -> None:
    draw = random.Random(0)
    rows = [{"train": {"lr": draw.random(), "dropout": draw.random()}, "acc": draw.random()} for _ in range(40)]
    overview = review(table(rows)).topic("sweep")[0]
    assert overview.numbers["configurations"] == 40


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "api-key", "api key", "apikey", "openaiApiKey", "OPENAI_API_KEY", "openAIAPIKey", "service.apiKey",
        "bearer", "bearerToken", "private_key", "privateKey", "access_key_id", "accessKeyId", "aws_secret_access_key",
        "secret-key", "client secret", "hf_token", "hfToken", "db/password", "api_keys", "credentials.user",
        "apiKeyId",
    ],
)  # fmt: skip
def test_a_secret_is_known_by_its_name_however_that_is_written(name: str) -> None:
    sweep = table([{"lr": at / 10, name: f"sk-{at}", "acc": at / 10} for at in range(3)])
    assert all(trial.config.keys() == {"lr"} for trial in sweep.trials)
    assert any("names are those of secrets" in note and name in note for note in sweep.notes)


@pytest.mark.parametrize("name", ["max_tokens", "token_dropout", "tokenDropout", "key_size", "num_keys", "group_key"])
def test_a_hyperparameter_is_no_secret(name: str) -> None:
    assert fields({"lr": 0.1, name: 0.25}) == {"lr", name}


def test_a_text_with_an_underscore_is_no_number() -> None:
    assert number("64_32") is None and number(" 1e-3 ") == 1e-3
    rows = [{"hidden": ["64_32", "128_64"][at % 2], "lr": at / 7, "acc": (7 * at % 40) / 40} for at in range(40)]
    found = review(table(rows)).next_space
    assert found is not None and "values: ['128_64', '64_32']" in found


def test_a_seed_is_known_where_it_is_nested() -> None:
    rows = [{"train": {"seed": at, "lr": 0.1}, "acc": at / 10} for at in range(3)]
    assert [trial.repeats for trial in table(rows).trials] == ["0", "1", "2"]


def runs(state: str, **results: Any) -> list[Record]:
    return [Record({"lr": at / 10}, results, {"state": state, "name": f"run-{at}"}) for at in range(10)]


def of_wandb(records: list[Record]) -> Sweep:
    return sweep_of(records, name="lab/digits/random", source="wandb", metric="val_acc", goal="maximize",
                    declared={"lr": {"min": 0, "max": 1}})  # fmt: skip


@pytest.mark.parametrize("records", [runs("crashed"), runs("running"), runs("finished", val_acc="NaN")])
def test_a_sweep_whose_runs_have_no_score_is_reviewed(records: list[Record]) -> None:
    sweep = of_wandb(records)
    found = review(sweep)
    assert sweep.notes == ("No run has a number in 'val_acc'.",)
    assert sweep.notes[0] in " ".join(claim.sentence for claim in found.topic("sweep"))
    if records[0].facts["state"] == "crashed":
        assert any("10 of 10 trials failed" in claim.sentence for claim in found.topic("waste"))


def test_a_metric_that_no_run_logged_which_ended_is_a_mistake() -> None:
    with pytest.raises(DataError, match=r"did you mean 'val/acc'"):
        of_wandb(runs("finished", **{"val/acc": 0.5}))
