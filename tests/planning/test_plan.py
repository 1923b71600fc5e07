"""The plan: what a person reads of it, and that its JSON leads back to the same plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autosft import api
from autosft.budget import Budget
from autosft.data.finding import Finding, Severity
from autosft.errors import PlanError
from autosft.planning.plan import Arm, Plan, is_plan
from autosft.planning.settle import settle
from autosft.prepare import Prepared
from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts
from autosft.testing.tiny_models import write_tiny_encoder
from autosft.tracking.base import Tracker
from autosft.trainers.base import Cost


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("plan")
    texts, targets = tiny_texts(120)
    rows = [{"text": text, "label": LABELS[target]} for text, target in zip(texts, targets, strict=True)]
    (folder / "rows.json").write_text(json.dumps(rows))
    model = write_tiny_encoder(folder / "tiny", words=WORDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOSFT_CACHE", str(folder / "cache"))
        yield api.plan(
            "sort messages by topic", folder / "rows.json", models=str(model), budget="5m", timing=False,
            fixes_off=["exact-duplicates"], tracker=Tracker(),
        )  # fmt: skip


def test_json_leads_back_to_the_same_plan(plan: Plan, tmp_path: Path) -> None:
    row = json.loads(json.dumps(plan.to_json()))
    assert is_plan(row)
    again = Plan.from_json(row)
    assert again.to_json() == plan.to_json()
    assert (again.arms, again.resources, again.origin, again.task) == (
        plan.arms, plan.resources, plan.origin, plan.task,
    )  # fmt: skip
    plan.save(tmp_path / "plan.json")
    assert str(Plan.load(tmp_path / "plan.json")) == str(plan)


def test_a_person_reads_what_is_done_with_what_why_and_for_how_much(plan: Plan) -> None:
    text = str(plan)
    for said in (
        "'text' -> 'label', one of 3 labels", "accuracy", "rows.json", "frozen_head/tiny", "transformers/tiny",
        "licence", "tpe, race", "5m", "factor of three", "Because", "a third of this budget would buy",
    ):  # fmt: skip
        assert said in text
    assert all(len(line) < 400 for line in text.splitlines())


def test_what_takes_less_than_a_second_does_not_take_none(plan: Plan) -> None:
    [arm, *_] = plan.arms
    quick = replace(plan, arms=(replace(arm, cost=Cost(0.1, 0.2, 3.0, None, 32, 0.0)),), reasons=())
    assert "a full run takes under a second" in str(quick) and "takes 0s" not in str(quick)


def test_the_places_of_bad_rows_are_printed(plan: Plan) -> None:
    bad = Finding(
        "missing-labels", Severity.WARNING, "Rows without a label: 1.", 1, ("row 7: what is it",), "dropped 1 row"
    )
    known = Finding("exact-duplicates", Severity.INFO, "Rows twice: 1.", 1, ("row 9, as row 8: text",))
    text = str(replace(plan, findings=(bad, known)))
    assert "! Rows without a label: 1; dropped 1 row\n            row 7: what is it\n" in text
    assert "row 9" not in text, "what needs no action needs no place"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"format": None}, "format None"),
        ({"arms": [{"name": "a"}]}, "cannot be read"),
        ({"budget": {"seconds": 0}}, "above zero"),
        ({"budget": {"hours": 1}}, "cannot be read"),
        ({"task": None}, "cannot be read"),
        ({"resources": {}}, "cannot be read"),
    ],
)
def test_a_newer_format_or_an_edit_that_breaks_it_is_said(plan: Plan, change: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        Plan.from_json({**plan.to_json(), **change})


def test_a_plan_whose_costs_were_taken_out_is_refused(plan: Plan) -> None:
    row = plan.to_json()
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.from_json({**row, "arms": [{**row["arms"][0], "cost": None}]})


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"text": "data, not a plan"}', "\x00\xff"])
def test_what_is_no_plan_is_not_loaded(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(PlanError, match=r"plan\.json"):
        Plan.load(tmp_path / "plan.json")


def test_what_was_chosen_so_that_it_fits_in_memory_is_said(plan: Plan) -> None:
    cost = Cost(1.0, 2.0, 3.0, micro_batch_size=4, max_length=32, share_cut=0.0, checkpointing=True)
    arm = replace(plan.arms[-1], default={"batch_size": 16}, cost=cost)
    said = "16 rows an update gathered 4 at a time, which fit in memory, with gradient checkpointing"
    assert said in str(replace(plan, arms=(arm,)))
    roomy = replace(arm, cost=replace(cost, micro_batch_size=16, checkpointing=False))
    assert "memory" not in str(replace(plan, arms=(roomy,), reasons=(), findings=()))


def test_rows_that_the_cache_lost_are_read_again(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autosft.prepare import with_rows

    assert with_rows(plan) is plan
    moved = Plan.from_json(json.loads(json.dumps(plan.to_json()).replace(str(plan.data.folder.parents[2]), "/gone")))
    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "new"))
    again = with_rows(moved)
    assert again.data.fingerprint == plan.data.fingerprint
    assert again.data.training(0)[0].column("text") == plan.data.training(0)[0].column("text")
    assert tmp_path in again.data.folder.parents


@pytest.mark.parametrize("harm", ["changed", "removed", "memory"])
def test_rows_that_are_no_longer_the_same_are_refused(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    from autosft.prepare import with_rows

    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "new"))
    row = json.loads(json.dumps(plan.to_json()).replace(str(plan.data.folder.parents[2]), "/gone"))
    copy = tmp_path / "rows.json"
    if harm == "changed":
        rows = json.loads(Path(plan.origin.data).read_text())
        copy.write_text(json.dumps([*rows, {"text": "one more card please", "label": "card"}]))
    row["origin"]["data"] = "" if harm == "memory" else str(copy)
    said = {"changed": "holds other rows", "removed": "cannot be read again", "memory": "from memory"}[harm]
    with pytest.raises(PlanError, match=said):
        with_rows(Plan.from_json(row))


def test_other_test_rows_are_refused_where_the_cache_lost_the_ones_that_were_there(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autosft.prepare import Question, check, understand, with_rows

    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))
    texts, targets = tiny_texts(30, seed=9)
    rows = [{"text": text, "label": LABELS[target]} for text, target in zip(texts, targets, strict=True)]
    test = tmp_path / "test.json"
    test.write_text(json.dumps(rows))
    question = Question(plan.task, plan.origin.data, test, seed=plan.seed)
    made = replace(plan, data=check(question, *understand(question)).data, origin=question.origin)
    assert made.data.held_out_folder is not None
    shutil.rmtree(made.data.held_out_folder)
    assert with_rows(made) == made, "the same rows are as good as the ones that were lost"
    shutil.rmtree(made.data.held_out_folder)
    test.write_text(json.dumps([{**row, "text": f"{row['text']} again"} for row in rows]))
    with pytest.raises(PlanError, match=r"test\.json now holds other rows"):
        with_rows(made)


def test_names_of_classes_come_back_with_the_rows_and_none_come_that_were_not_there(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autosft.prepare import Question, check, understand, with_rows

    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))
    few = tmp_path / "few.json"
    few.write_text(json.dumps(json.loads(Path(plan.origin.data).read_text())[:30]))
    question = Question(plan.task, few, seed=plan.seed)
    made = replace(plan, data=check(question, *understand(question)).data, origin=question.origin)
    assert made.data.named is not None
    made.data.named.unlink()
    assert with_rows(made) == made
    older = replace(made, data=replace(made.data, named=None))
    (made.data.folder / "rows.arrow").unlink()
    assert with_rows(older) == older
    (made.data.folder / "rows.arrow").unlink()
    with pytest.raises(PlanError, match="now holds other rows"):
        with_rows(replace(made, origin=replace(made.origin, fixes_off=("class-names",))))


def settled(plan: Plan, arms: Sequence[Arm], budget: str = "5m") -> Plan:
    return settle(
        Prepared(plan.task, plan.data, (), ()), arms, plan.resources, origin=plan.origin, budget=Budget.parse(budget),
        scheduler="race", sampler="tpe", seed=0, reasons=(), spent_seconds=0.0,
    )  # fmt: skip


def test_arms_that_were_not_timed_are_named_where_others_were(plan: Plan) -> None:
    bare = [replace(arm, cost=None, fidelity=1.0, rungs=(1.0,)) for arm in plan.arms]
    timed = [replace(arm, cost=Cost(1.0, 2.0, 300.0, None, 32, 0.0)) for arm in bare]
    assert "nothing was timed" in str(settled(plan, bare))
    assert "timed" not in str(settled(plan, timed))
    some = settled(plan, [timed[0], bare[1], *timed[2:]])
    assert f"within a factor of three ({bare[1].name} was not timed)" in str(some)
    assert str(Plan.from_json(json.loads(json.dumps(some.to_json())))) == str(some)
    earlier = {key: value for key, value in some.to_json()["quote"].items() if key != "untimed"}
    assert "factor of three" in str(Plan.from_json({**some.to_json(), "quote": earlier}))


def test_other_budgets_are_named_only_where_they_buy_something_else(plan: Plan) -> None:
    slow = [replace(arm, cost=Cost(1.0, 1e5, 300.0, None, 32, 0.0)) for arm in plan.arms]
    for arms, differs in ((plan.arms, True), (slow[:1], False)):
        said = [reason for reason in settled(plan, arms).reasons if "three times as much" in reason]
        assert len(said) == differs, said


@pytest.mark.parametrize(
    ("resources", "words"),
    [((1, 1.0, 1), "1 trial at once on 1 CPU and 1 GPU\n"), ((2, 0.5, 3), "3 trials at once on 2 CPUs and 0.5 GPUs\n")],
)
def test_one_is_not_many(plan: Plan, resources: tuple[int, float, int], words: str) -> None:
    cpus, gpus, at_once = resources
    given = replace(plan.resources, cpus_per_trial=cpus, gpus_per_trial=gpus, max_concurrent=at_once)
    assert words in str(replace(plan, resources=given))
