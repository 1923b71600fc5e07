"""Parts of a report by themselves: intervals, calibration, slices, cells, colours."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from made_runs import ended, trial

from autosft.arrays import from_matrix
from autosft.data.data import Rows
from autosft.planning.plan import Plan
from autosft.proof import Evidence
from autosft.report.answers import answers, wilson
from autosft.report.blocks import Column, Figure, Said, Section, Table, Tile
from autosft.report.calibration import reliability
from autosft.report.cells import number, sort_key, spans, worded
from autosft.report.errors import worst_errors
from autosft.report.page import body, page, script_json
from autosft.report.procedure import again, audit
from autosft.report.procedure import plan as procedure
from autosft.report.slices import look
from autosft.task import Metric, Task
from autosft.tasks import kind as task_kind
from autosft.tasks.base import TaskKind

TASK = Task("text-classification", "", ("text",), "label", Metric("accuracy"), labels=("a", "b"))


def evidence(right: np.ndarray) -> Evidence:
    """Rows labelled "a", of which some are right."""
    sure = np.where(right, 0.9, 0.1).astype(np.float32)
    outputs = from_matrix(np.stack([sure, 1 - sure], axis=1))
    targets = pa.array(np.zeros(len(right), np.int64))
    return Evidence(TASK, TASK, Rows("nowhere"), targets, outputs, outputs, outputs)  # type: ignore[arg-type]


def test_wilson_is_as_in_the_books_and_never_without_width() -> None:
    low, high = wilson(np.array([10, 0, 81]), np.array([10, 10, 263]))
    assert (low[0], high[0]) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert (low[1], high[1]) == pytest.approx((0.0, 0.2775), abs=1e-4)
    # Newcombe (1998), table I: 81 of 263.
    assert (low[2], high[2]) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_the_calibration_error_is_the_one_that_is_defined() -> None:
    said = np.array([0.9] * 10 + [0.62] * 5)
    happened = np.array([True] * 7 + [False] * 3 + [True] * 5)
    found = reliability(said, happened)
    assert found.error == pytest.approx((10 * abs(0.7 - 0.9) + 5 * abs(1.0 - 0.62)) / 15)
    assert found.counts.tolist() == [5, 10] and found.found.tolist() == [1.0, 0.7]


def test_calibrated_probabilities_are_within_chance_and_overconfident_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0.3, 1.0, 2000)
    happened = rng.random(2000) < said
    assert reliability(said, happened).error < reliability(said, happened).by_chance[1]
    sure = np.minimum(0.999, said + 0.15)
    assert reliability(sure, happened).error > reliability(sure, happened).by_chance[1]


def test_a_slice_that_differs_is_found_and_those_of_chance_are_not() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(1000) < 0.85
    bad = np.arange(1000) < 100
    right[bad] = rng.random(100) < 0.5
    masks = {("of", "bad"): bad, ("of", "few"): np.arange(1000) < 3}
    masks |= {("by", str(at)): rng.permutation(1000) < 250 for at in range(8)}
    found, num_small = look(evidence(right), masks, seed=0)
    assert num_small == 1 and len(found) == 9
    chances = {one.value: one.chance for one in found}
    assert chances["bad"] is not None and chances["bad"] * len(found) < 1e-6
    assert all(chance is not None and chance * len(found) > 0.05 for name, chance in chances.items() if name != "bad")


def test_slices_of_whole_groups_differ_no_more_than_groups_do() -> None:
    rng = np.random.default_rng(2)
    groups = np.arange(1000) // 20
    right = rng.random(50)[groups] < 0.7
    masks = {("by", str(at)): np.isin(groups, rng.permutation(50)[:15]) for at in range(8)}

    def sure(groups: np.ndarray | None) -> int:
        found, _ = look(evidence(right), masks, seed=0, groups=groups)
        return sum(one.chance is not None and one.chance * len(found) < 0.05 for one in found)

    assert sure(None) > 2 and sure(groups) == 0
    few = {("of", "two groups"): groups < 2}
    assert look(evidence(right), few, seed=0, groups=groups)[0][0].chance is None


def test_slices_of_a_slow_metric_cost_no_more_than_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(targets: list[str], predictions: list[str]) -> float:
        clock.now += 0.5
        return float(np.mean([one == other for one, other in zip(targets, predictions, strict=True)]))

    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("autosft.report.slices.time", clock)
    monkeypatch.setattr("autosft.intervals.time", clock)
    task = replace(TASK, metric=Metric("slow", function=slow))
    rows = replace(evidence(np.arange(100) % 3 > 0), task=task)
    masks = {("by", str(at)): np.arange(100) % 5 == at for at in range(5)}
    assert look(rows, masks, seed=0) == ([], 0)
    assert clock.now <= 2.5


def test_a_small_slice_in_which_all_are_right_is_not_called_better() -> None:
    right = np.arange(500) % 10 != 9
    mask = np.zeros(500, bool)
    mask[np.flatnonzero(right)[:12]] = True
    (one,), _ = look(evidence(right), {("of", "twelve"): mask}, seed=0)
    assert one.score == 1.0 and one.low == one.high == 1.0
    assert one.chance is not None and one.chance > 0.05


def test_one_error_among_few_rows_is_not_called_worse_where_errors_are_rare() -> None:
    right = np.arange(1000) % 100 != 0
    mask = np.zeros(1000, bool)
    mask[:12] = True
    (one,), _ = look(evidence(right), {("of", "twelve"): mask}, seed=0)
    assert one.score == pytest.approx(11 / 12) and one.chance is not None and one.chance > 0.05


def test_a_part_on_which_a_users_metric_raises_costs_that_part_alone() -> None:
    def picky(targets: list[str], predictions: list[str]) -> float:
        if len(set(targets)) < 2:
            raise ValueError("only one class")
        return float(np.mean([one == other for one, other in zip(targets, predictions, strict=True)]))

    rows = evidence(np.arange(200) % 3 > 0)
    task = replace(TASK, metric=Metric("picky", function=picky))
    rows = replace(rows, task=task, targets=pa.array(np.arange(200) % 2))
    masks = {("of", "one class"): np.arange(200) % 2 == 0, ("of", "both"): np.arange(200) < 100}
    found, num_small = look(rows, masks, seed=0)
    assert [one.value for one in found] == ["both"] and num_small == 0


def test_a_part_is_set_against_parts_of_its_size() -> None:
    """A macro average of forty classes is worse on twenty rows than on all, whichever rows these are."""
    names = tuple(f"label {at:02}" for at in range(40))
    targets = np.arange(2000) % 40
    said = np.where(np.random.default_rng(0).random(2000) < 0.9, targets, (targets + 1) % 40)
    outputs = from_matrix(np.eye(40, dtype=np.float32)[said])
    task = replace(TASK, metric=Metric("macro_f1"), labels=names)
    rows = Evidence(task, task, Rows("nowhere"), pa.array(targets), outputs, outputs, outputs)  # type: ignore[arg-type]
    mask = np.zeros(2000, bool)
    mask[np.random.default_rng(1).permutation(2000)[:20]] = True
    (one,), _ = look(rows, {("of", "twenty"): mask}, seed=0)
    assert one.expected is not None and one.chance is not None and one.chance > 0.05
    assert abs(one.expected - float(task_kind(task.kind).score(task, rows.targets, outputs))) > 0.02


def test_a_kind_that_says_nothing_of_rows_does_not_call_them_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = {name: getattr(TaskKind, name) for name in ("verdicts", "class_counts", "confidences")}
    kind = type("Silent", (type(task_kind("text-classification")),), silent)()
    for module in ("answers", "errors"):
        monkeypatch.setattr(f"autosft.report.{module}.task_kind", lambda name: kind)
    rows = evidence(np.arange(20) > 3)
    assert worst_errors(rows) is None
    (block,) = answers(rows).blocks
    assert isinstance(block, Said) and "wrong" not in block.text


def test_a_narrow_window_scrolls_a_confusion_matrix_before_its_labels_take_the_cells_room() -> None:
    def width(labels: tuple[str, ...]) -> int:
        task = replace(TASK, labels=labels)
        outputs = from_matrix(np.eye(5, dtype=np.float32)[np.arange(20) % 4])
        rows = Evidence(task, task, Rows("nowhere"), pa.array(np.arange(20) % 5), outputs, outputs, outputs)  # type: ignore[arg-type]
        return next(block for block in answers(rows).blocks if isinstance(block, Figure)).min_width

    short, long = tuple("abcde"), tuple(f"transfer_not_received_{at}" for at in range(5))
    # A telephone has some 310 pixels for a figure.
    assert width(short) < 320 < 400 < width(long)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "number", "–"), (math.nan, "number", "–"), (math.inf, "number", "not defined"),  # noqa: RUF001
        (0.5, "number", "0.5000"), (123456.7, "number", "123,457"), (0.123, "share", "12.3 %"), (1.0, "share", "100 %"),
        ((0.5, 0.4, 0.6), "interval", "0.5000 [0.4000, 0.6000]"), ((0.5, None, None), "interval", "0.5000"),
        (1234, "count", "1,234"), (0.5, "signed", "+0.5000"), ("a\u202eb\nc", "data", "a\ufffdb c"),
        ("x" * 400, "data", "x" * 279 + "…"), (True, "mark", "yes"),
    ],
)  # fmt: skip
def test_cells_read(value: object, kind: str, text: str) -> None:
    assert worded(value, kind) == text


def test_cells_sort_by_their_number() -> None:
    assert sort_key((0.25, 0.1, 0.4), "interval") == sort_key(np.float64(0.25), "share") == "0.25"
    assert sort_key(None, "number") == sort_key(math.nan, "number") == sort_key("word", "text") == ""
    drawn = spans(Table("t", "", (Column("s", "interval"),), (((0.5, 0.0, 1.0),), ((0.75, 0.5, 1.0),), (None,))), 0)
    assert (drawn[1].low, drawn[1].value, drawn[1].high) == (50.0, 75.0, 100.0)  # type: ignore[union-attr]
    assert drawn[2] is None and number(-0.00001) == "-0.0000"


def test_json_cannot_leave_its_script() -> None:
    value = {"</script><!--": ["\u2028&\u2029", math.nan, math.inf]}
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"</script><!--": ["\u2028&\u2029", None, None]}


def test_other_pages_can_use_the_shell() -> None:
    table = Table("jobs", "Jobs", (Column("job", "data"), Column("score", "interval")), (("<i>x</i>", None),), ("job",))
    content = body("A <batch>", "told", ["One."], [Tile("jobs", "8", "of 9")], [Section("s", "S", (table, Said("&")))])
    html = page("A <batch>", content)
    assert "A &lt;batch&gt;</title>" in html and "&lt;i&gt;x&lt;/i&gt;" in html and "plotly.js v" not in html
    assert len(html) < 60_000


def test_two_pages_of_the_same_values_are_the_same() -> None:
    numbers = Table("n", "n", (Column("x"),), (("1",),))
    figure = Figure("f", "F", "told", ({"type": "bar", "x": [1]},), {"xaxis": {}}, numbers)
    first, second = (body("T", "", [], [], [Section("s", "S", (figure,))]) for _ in range(2))
    assert first == second


def colours(selector: str) -> dict[str, str]:
    css = (files("autosft.report") / "templates" / "page.css").read_text(encoding="utf-8")
    block = css.split(selector + " {", 1)[1].split("}", 1)[0]
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block))


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_text_can_be_read_in_both_themes(theme: str) -> None:
    found = colours(theme)
    grounds = [found[name] for name in ("page", "card", "soft")]
    for name in ("ink", "muted", "accent"):
        assert all(contrast(found[name], ground) >= 4.5 for ground in grounds), name
    for name in ("good", "warn", "bad", "accent"):
        assert contrast(found["ink"], found[f"{name}-soft"]) >= 4.5
    assert contrast(found["bad"], found["card"]) >= 4.5
    # Lines and points need three.
    assert all(contrast(found[f"series-{at}"], found["card"]) >= 3 for at in range(8))


def test_the_report_says_what_names_of_classes_count_as_where_they_do(plan: Plan, tmp_path: Path) -> None:
    arm = next(arm for arm in plan.arms if arm.trainer == "frozen_head")
    for named in (tmp_path / "named.arrow", None):
        of = ended(replace(plan, data=replace(plan.data, named=named)), [trial(0, arm, {}, 0.9)])
        text = f"{audit(of)} {again(of)}"
        assert ("the name of each class counts as 1 more training row of it" in text) is (named is not None)
        assert ("class_name_rows" in text) is (named is not None)


def test_one_trial_at_once_on_one_core_is_said_in_the_singular(plan: Plan) -> None:
    one = replace(plan.resources, cpus_per_trial=1, gpus_per_trial=1.0, max_concurrent=1)
    of = ended(replace(plan, resources=one), [trial(0, plan.arms[0], {}, 0.9)])
    assert "1 trial at once, each on 1 CPU and 1 GPU'" in str(procedure(of))
