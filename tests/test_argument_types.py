"""Arguments of the public verbs that are of another type: said at once, in words, whatever else is given."""

from __future__ import annotations

import pytest

import autosft
from autosft.tracking.base import Tracker

ROWS = [{"text": f"some words {number}", "label": "ab"[number % 2]} for number in range(40)]
ASKED = ("Is it good?", ROWS)


@pytest.mark.parametrize(
    "given",
    [
        {"seed": "a"}, {"seed": 1.5}, {"seed": True}, {"seed": None}, {"models": [3]}, {"models": []}, {"models": 3},
        {"trainer": {"frozen_head": 1}}, {"space": {"C": [1, 2]}}, {"budget": 20.5j}, {"budget": None}, {"sampler": 3},
        {"scheduler": None}, {"max_concurrent": 1.5}, {"gpus_per_trial": "one"}, {"fixes_off": None}, {"cluster": 6379},
        {"tracker": 3},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("verb", [autosft.fit, autosft.plan], ids=["fit", "plan"])
def test_how_to_search(verb, given: dict[str, object]) -> None:
    refused(autosft.PlanError, given, lambda: verb(*ASKED, **{"tracker": Tracker(), **given}))


@pytest.mark.parametrize(
    "given",
    [{"metric": 3}, {"target": 3}, {"inputs": [3]}, {"inputs": 3}, {"group": ["a"]}, {"time": 3}, {"kind": 3},
     {"answer": 3}],
    ids=str,
)  # fmt: skip
def test_what_to_learn(given: dict[str, object]) -> None:
    refused(autosft.TaskError, given, lambda: autosft.plan(*ASKED, tracker=Tracker(), **given))


def test_the_sentence() -> None:
    for task in (None, 3, ROWS):
        refused(autosft.TaskError, {"task": task}, lambda task=task: autosft.plan(task, ROWS))
        refused(autosft.TaskError, {"task": task}, lambda task=task: autosft.fit(task, ROWS))


@pytest.mark.parametrize("verb", ["resume", "load", "sync", "review"])
def test_a_place(verb: str) -> None:
    name = "target" if verb == "review" else "folder"
    refused(autosft.PlanError, {name: 3}, lambda: getattr(autosft, verb)(3))


@pytest.mark.parametrize("given", [{"budget": 20.5j}, {"space": {}}, {"tracker": 3}, {"cluster": 3}], ids=str)
def test_what_is_said_to_a_run_again(given: dict[str, object], tmp_path) -> None:
    refused(autosft.PlanError, given, lambda: autosft.resume(tmp_path, **given))


def refused(error: type[Exception], given: dict[str, object], call) -> None:
    with pytest.raises(error) as raised:
        call()
    wrong, expected, fix = str(raised.value).splitlines()
    [name] = given
    assert wrong.startswith(f"{name}= is ") and expected.startswith("  Expected: ")
    assert fix.startswith(f"  To fix: for example {name}=")
    assert len(wrong) < 160
