"""The quote of a plan of which nothing was timed: it follows the length of the rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import autosft
from autosft.data.data import Rows
from autosft.data.finding import Finding, Severity
from autosft.inputs.text import MAX_TOKENS
from autosft.planning.machine import resources_on
from autosft.planning.plan import Arm, Resources
from autosft.planning.settle import _rough_cost
from autosft.search.settings import Machine
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.testing.tiny_images import write_tiny_images
from autosft.testing.tiny_models import write_tiny_decoder, write_tiny_encoder
from autosft.tracking.base import Tracker

TWO_CORES = resources_on(Machine(2), gpus_per_trial=None, max_concurrent=None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("model") / "tiny", words=["a"])


@pytest.fixture(scope="module")
def arm(model: Path) -> Arm:
    rows = [{"text": text, "label": LABELS[target]} for text, target in zip(*tiny_texts(60), strict=True)]
    planned = autosft.plan(
        "sort", rows, models=str(model), trainer="transformers", timing=False, budget="3 trials", tracker=Tracker()
    )
    [found] = planned.arms
    # Large enough for its arithmetic to be what a step takes.
    return replace(found, base_model=replace(found.base_model, num_parameters=20_000_000))


@pytest.fixture
def without_tokenizer(arm: Arm, tmp_path: Path) -> Arm:
    return context(replace(arm, folder=str(tmp_path)), 512)


def seconds(arm: Arm, folder: Path, *, on: Resources = TWO_CORES, **columns: list[object]) -> float:
    """Predicted seconds of a full run over rows of these columns."""
    path = folder / "rows.arrow"
    table = pa.table(columns)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return _rough_cost(arm, Rows(path), num_validation=0, on=on).run_seconds


def test_a_training_is_quoted_for_the_one_gpu_that_it_gets(arm: Arm, tmp_path: Path) -> None:
    large = replace(arm, base_model=replace(arm.base_model, num_parameters=1_000_000_000))
    texts: list[object] = ["word " * 400] * 500
    one, eight = (resources_on(Machine(8, gpus=gpus), gpus_per_trial=None, max_concurrent=None) for gpus in (1, 8))
    assert seconds(large, tmp_path, on=one, text=texts) == seconds(large, tmp_path, on=eight, text=texts)


def context(arm: Arm, tokens: int) -> Arm:
    return replace(arm, base_model=replace(arm.base_model, context_tokens=tokens))


def test_longer_rows_cost_more_up_to_where_they_are_cut(arm: Arm, tmp_path: Path) -> None:
    arm = context(arm, 128)
    short = seconds(arm, tmp_path, text=["a " * 8] * 50)
    long = seconds(arm, tmp_path, text=["a " * 80] * 50)
    assert long / short == pytest.approx((2 + 80) / (2 + 8))
    cut = seconds(arm, tmp_path, text=["a " * 8000] * 50)
    assert cut / short == pytest.approx(128 / (2 + 8))
    assert seconds(context(arm, 8192), tmp_path, text=["a " * 8000] * 50) / cut == pytest.approx(MAX_TOKENS / 128)


def test_where_there_is_no_tokenizer_four_characters_are_a_token(without_tokenizer: Arm, tmp_path: Path) -> None:
    short = seconds(without_tokenizer, tmp_path, text=["word " * 8] * 50)
    assert seconds(without_tokenizer, tmp_path, text=["word " * 80] * 50) / short == pytest.approx(102 / 12)


@pytest.mark.parametrize("text", ["銀行卡丢失了怎么办", "カードを紛失しました", "카드를분실했어요"])
def test_a_character_of_chinese_japanese_or_korean_is_a_token(
    without_tokenizer: Arm, tmp_path: Path, text: str
) -> None:
    latin = seconds(without_tokenizer, tmp_path, text=["abcd" * len(text)] * 20)
    assert seconds(without_tokenizer, tmp_path, text=[text] * 20) == pytest.approx(latin)


def test_tokens_are_those_of_the_base_model(arm: Arm, tmp_path: Path) -> None:
    """A vocabulary made for another alphabet makes several tokens of a character."""
    by_bytes = write_tiny_decoder(tmp_path / "decoder")
    decoder = context(replace(arm, folder=str(by_bytes)), 512)
    latin = seconds(decoder, tmp_path, text=["a" * 40] * 20)
    assert seconds(decoder, tmp_path, text=["अ" * 40] * 20) == pytest.approx(3 * latin, rel=0.1)


def test_a_step_takes_its_time_however_small_the_model(arm: Arm, tmp_path: Path) -> None:
    tiny = replace(arm, base_model=replace(arm.base_model, num_parameters=1000))
    rows = 20 * arm.default["batch_size"]
    predicted = seconds(tiny, tmp_path, text=["a"] * rows)
    assert predicted > 20 * arm.default["num_train_epochs"] * 0.01
    assert predicted < seconds(arm, tmp_path, text=["a"] * rows)


def test_rows_without_text_are_taken_as_full_length(arm: Arm, tmp_path: Path) -> None:
    full = seconds(arm, tmp_path, text=["word " * 8000] * 20)
    assert seconds(arm, tmp_path, pixels=[0] * 20) == pytest.approx(full)


def test_the_quote_of_a_plan_follows_the_rows(model: Path) -> None:
    def quoted(times: int) -> float:
        texts, targets = tiny_texts(60)
        rows = [
            {"text": " ".join([text] * times), "label": LABELS[target]}
            for text, target in zip(texts, targets, strict=True)
        ]
        made = autosft.plan(
            "sort", rows, models=str(model), trainer="transformers", timing=False, budget="3 trials", tracker=Tracker()
        )
        assert "None tokens" not in str(made) and "cut at" not in str(made)
        [arm] = made.arms
        assert arm.cost is not None
        return 1 / arm.cost.predict_rows_per_second

    # The longer ones are cut at the model's 64 tokens.
    assert quoted(4) > 1.4 * quoted(1)


def test_words_pairs_and_answers_count_as_text_does(arm: Arm, tmp_path: Path) -> None:
    text = seconds(arm, tmp_path, text=["word " * 40] * 20)
    assert seconds(arm, tmp_path, tokens=[["word"] * 40] * 20) == pytest.approx(text, rel=0.1)
    assert seconds(arm, tmp_path, text=["word " * 20] * 20, text_pair=["word " * 20] * 20) == pytest.approx(
        text, rel=0.1
    )
    assert seconds(arm, tmp_path, text=["word " * 20] * 20, target=["word " * 20] * 20) == pytest.approx(text, rel=0.1)
    turns = [{"role": "user", "content": "word " * 20}, {"role": "assistant", "content": "word " * 20}]
    assert seconds(arm, tmp_path, messages=[turns] * 20) == pytest.approx(text, rel=0.1)


def test_images_are_planned_without_timing_and_without_a_pretrained_model(tmp_path: Path) -> None:
    images = write_tiny_images(tmp_path / "images", 60)
    made = autosft.plan("Which class is it?", images, timing=False, budget="20m", tracker=Tracker())
    assert {arm.base_model.pretrained for arm in made.arms} == {False}
    assert all(arm.cost is not None and arm.cost.run_seconds > 0 for arm in made.arms)


@pytest.fixture(params=[True, False], ids=["timed", "untimed"])
def told(request: pytest.FixtureRequest, model: Path) -> Callable[[list[str]], dict[str, Finding]]:
    """What a plan finds in texts, by check: where their tokens were read, and where only a sample was."""

    def findings(texts: list[str]) -> dict[str, Finding]:
        rows = [{"text": text, "label": LABELS[at % 2]} for at, text in enumerate(texts)]
        plan = autosft.plan(
            "Which topic is it?", rows, models=str(model), trainer=["frozen_head", "transformers"],
            timing=request.param, budget="5m", tracker=Tracker(),
        )  # fmt: skip
        found = [finding for finding in plan.findings if finding.check in ("cut-off", "unknown-tokens")]
        by_check = {finding.check: finding for finding in found}
        assert len(found) == len(by_check), "once for two trainers of a model"
        return by_check

    return findings


def test_rows_that_are_cut_are_named(told: Callable[[list[str]], dict[str, Finding]]) -> None:
    texts, _ = tiny_texts(80)
    assert told(texts) == {}
    [(check, finding)] = told([text + " a" * 600 * (at in (3, 57)) for at, text in enumerate(texts)]).items()
    assert check == "cut-off" and finding.severity is Severity.INFO
    assert re.match(r"(2\.5%|about \d\.\d%) of the rows are longer than 64 tokens of ", finding.message)
    assert (finding.count, finding.examples) == (2, ("row 3", "row 57"))


def test_a_model_that_does_not_know_the_text_is_found_out(told: Callable[[list[str]], dict[str, Finding]]) -> None:
    texts, _ = tiny_texts(80)
    japanese = "これは天気の話です。明日は雨が降るでしょう。"
    found = told([f"{text} {japanese[at % 20 :]} {at}" if at % 2 else text for at, text in enumerate(texts)])
    assert "has no word for" in found["unknown-tokens"].message
    assert "models=" in found["unknown-tokens"].action
