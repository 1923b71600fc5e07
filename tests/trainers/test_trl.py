"""The trainer of decoders, on a Llama of a few thousand weights and on one that tells stories."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from autosft.base_models import candidates, describe
from autosft.data.data import Rows
from autosft.errors import BaseModelError, MissingExtraError, TrialFailed
from autosft.inputs.prompts import PromptReader
from autosft.planning.arms import draft_arms
from autosft.search.settings import Machine
from autosft.search.space_file import load_space
from autosft.task import Input, Metric, Output, Task
from autosft.tasks import kind
from autosft.testing.tiny_models import tiny_base_model, write_tiny_decoder
from autosft.trainers import trainer_class
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.decoder import TextGenerator, load_decoder

COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "lemon": "yellow"}
WORDS = (*COLOURS, *COLOURS.values())
FULL = {"method": "full", "learning_rate": 1e-2, "num_train_epochs": 12, "batch_size": 8}
LORA = {"method": "lora", "lora_learning_rate": 5e-2, "num_train_epochs": 4, "batch_size": 8, "lora_dropout": 0.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_decoder(tmp_path_factory.mktemp("decoder"), words=WORDS)


@pytest.fixture(scope="module", params=["causal-lm", "chat"])
def setting(request, tmp_path_factory):
    """Questions for colours, as prompts and completions or as conversations; the last eight rows validate."""
    folder = tmp_path_factory.mktemp(request.param)
    things = [list(COLOURS)[at % 6] for at in range(48)]
    metric = Metric("bits_per_byte", False)
    found = kind(request.param)
    if request.param == "causal-lm":
        table = pa.table({"q": [f"what is {thing}" for thing in things], "a": [COLOURS[thing] for thing in things]})
        task = Task(found.name, "", ("q",), "a", metric, answer=r"\w+")
    else:
        rows = [
            [{"role": "user", "content": thing}, {"role": "assistant", "content": COLOURS[thing]}] for thing in things
        ]
        table = pa.table({"messages": rows})
        task = Task(found.name, "", ("messages",), "messages", metric, answer=r"\w+")
    return task, training_data(found, task, table, folder)


def training_data(found, task, table, folder):
    rows = found.encode_inputs(task, table)
    rows = rows.append_column("target", found.encode_targets(task, table))
    rows = rows.append_column("row", pa.array(range(len(table)), pa.int64()))
    path = folder / "rows.arrow"
    with pa.ipc.new_file(str(path), rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    at = np.arange(len(table))
    return TrainingData(found.input, found.output, Rows(path), at[:-8], at[-8:], "fingerprint")


def fit(base, setting, tmp_path, config, *, seed=0, fidelity=1.0, rungs=(1.0,), **limits):
    task, data = setting
    trainer = trainer_class("trl")(tiny_base_model(base), base)
    reports = []
    model = trainer.fit(
        trainer.Config(**config),
        task,
        data,
        fidelity=fidelity,
        seed=seed,
        folder=tmp_path,
        report=lambda share, outputs: reports.append((share, outputs)),
        rungs=rungs,
        limits=Limits(num_threads=1, cache=tmp_path / "cache", **limits),
    )
    return model, reports


@pytest.fixture
def losses(monkeypatch):
    """Every loss that TRL computes in training, in order."""
    import trl

    found = []
    plain = trl.SFTTrainer.compute_loss

    def recording(self, *args, **kwargs):
        loss = plain(self, *args, **kwargs)
        found.append(loss.item())
        return loss

    monkeypatch.setattr(trl.SFTTrainer, "compute_loss", recording)
    return found


@pytest.mark.parametrize(
    "config", [{**FULL, "num_train_epochs": 3}, {**LORA, "neftune_noise_alpha": 5.0}], ids=["full", "lora-neftune"]
)
def test_losses_are_those_of_trl_alone(base, setting, tmp_path, losses, config, in_bf16):
    """The plug-in adds nothing and loses nothing: TRL's own collation, order, optimizer, schedule and loss."""
    import trl
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fit(base, setting, tmp_path, config, seed=3)
    ours = list(losses)
    losses.clear()

    task, data = setting
    tokenizer = AutoTokenizer.from_pretrained(base)
    table = data.all.table().take(pa.array(data.train))
    rows = []
    if task.kind == "causal-lm":
        # TRL tokenises these itself, and ends a completion.
        for text, target in zip(table["text"].to_pylist(), table["target"].to_pylist(), strict=True):
            rows.append({"prompt": f"{text}\n", "completion": target})
    else:
        for messages in table.column("messages").to_pylist():
            prompt = tokenizer(f"<|user|>\n{messages[0]['content']}\n<|assistant|>\n")["input_ids"]
            answer = tokenizer(messages[1]["content"] + "</s>", add_special_tokens=False)["input_ids"]
            rows.append({"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)})
    from datasets import Dataset

    total = config["num_train_epochs"] * 5
    bare = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "bare"),
            num_train_epochs=config["num_train_epochs"],
            per_device_train_batch_size=8,
            learning_rate=config["lora_learning_rate" if config["method"] == "lora" else "learning_rate"],
            weight_decay=0.01,
            lr_scheduler_type="linear",
            warmup_steps=round(0.1 * total),
            neftune_noise_alpha=config.get("neftune_noise_alpha"),
            train_sampling_strategy="group_by_length",
            gradient_checkpointing=False,
            completion_only_loss=True,
            seed=3,
            bf16=in_bf16,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        if config["method"] == "lora"
        else None,
    )
    bare.train()
    assert len(ours) == total
    np.testing.assert_allclose(ours, losses, atol=1e-4, rtol=0)
    assert min(ours) < 0.9 * ours[0], "a training that learns nothing would agree with anything"


def test_learns_what_was_asked_and_answers_so(base, setting, tmp_path):
    task, data = setting
    model, reports = fit(base, setting, tmp_path, FULL, rungs=(0.5, 1.0))
    assert [share for share, _ in reports] == [0.5, 1.0]
    outputs = reports[-1][1]
    targets = data.all.targets().take(pa.array(data.validation))
    assert outputs.field("text").to_pylist() == targets.to_pylist()
    scores = kind(task.kind).scores(task, targets, outputs)
    assert scores["exact_match"] == 1.0 and scores["bits_per_byte"] < 0.3
    assert kind(task.kind).score(task, targets, reports[0][1]) > scores["bits_per_byte"], "the rung came before the end"
    table = data.all.table().take(pa.array(data.validation))
    predicted = model.predict(table)
    assert predicted.field("text").to_pylist() == targets.to_pylist()
    assert predicted.field("nats").null_count == 8
    assert len(model.predict(table.slice(0, 0))) == 0


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_likelihood_is_that_of_the_completion_token_by_token(base, setting, tmp_path):
    _, data = setting
    model, reports = fit(base, setting, tmp_path, {**FULL, "num_train_epochs": 1})
    tokenizer = model.reader.tokenizer
    for row, nats in zip(data.validation.tolist(), reports[-1][1].field("nats").to_pylist(), strict=True):
        values = data.all.table().slice(row, 1).to_pylist()[0]
        prompt = tokenizer(values["text"] + "\n")["input_ids"]
        answer = [*tokenizer(values["target"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model.network(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        expected = -sum(float(logits[len(prompt) + at - 1, token]) for at, token in enumerate(answer))
        assert nats == pytest.approx(expected, rel=1e-4)


def test_a_saved_model_generates_the_same_without_trl_and_peft(base, setting, tmp_path):
    task, data = setting
    model, reports = fit(base, setting, tmp_path, FULL if task.kind == "chat" else LORA)
    table = data.all.table().slice(0, 12)
    before = model.predict(table).field("text").to_pylist()
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    suffixes = {path.suffix for path in folder.iterdir()}
    assert ".safetensors" in suffixes and suffixes <= {".json", ".txt", ".jinja", ".safetensors"}
    assert not any("lora" in name for name in json.dumps([path.name for path in folder.iterdir()]).split())
    with pa.ipc.new_file(str(tmp_path / "table.arrow"), table.schema) as writer:
        writer.write_table(table)
    script = (
        "import sys, json; sys.modules['trl'] = sys.modules['peft'] = None\n"
        "import pyarrow as pa\nfrom pathlib import Path\nfrom autosft.trainers import trainer_class\n"
        f"table = pa.ipc.open_file({str(tmp_path / 'table.arrow')!r}).read_all()\n"
        f"model = trainer_class('trl').load(Path({str(folder)!r}))\n"
        "print(json.dumps(model.predict(table).field('text').to_pylist()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == before
    loaded = trainer_class("trl").load(folder)
    judged = loaded.judge(setting[0], data.all.table().take(pa.array(data.validation)), reports[-1][1].field("text"))
    assert judged.field("text") == reports[-1][1].field("text")


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_the_saved_folder_is_one_that_transformers_alone_generates_with(base, setting, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, _ = fit(base, setting, tmp_path, FULL)
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = AutoModelForCausalLM.from_pretrained(folder).generate(**tokenizer("what is snow\n", return_tensors="pt"))
    assert tokenizer.decode(found[0], skip_special_tokens=True) == "what is snow\nwhite"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_decoder_that_tells_stories_learns_sums_and_is_saved_as_it_is(tmp_path, method):
    """On real weights, and the first rows of GSM8K, in the layout of `benchmarks/data.md`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root = Path(os.environ.get("AUTOSFT_TEST_DATA", "nowhere"))
    stories, questions = root.parent / "models/stories260k", root / "causal-lm/gsm8k/train.jsonl"
    if not (stories.is_dir() and questions.is_file()):
        pytest.skip("AUTOSFT_TEST_DATA names no folder with these data, or there is no decoder beside it")
    lines = questions.read_text(encoding="utf-8").splitlines()
    table = pa.Table.from_pylist([json.loads(line) for line in lines[:104]])
    task = Task("causal-lm", "", ("question",), "answer", Metric("bits_per_byte", False))
    setting = task, training_data(kind("causal-lm"), task, table, tmp_path)
    validation = Rows(setting[1].all.path, setting[1].validation)
    rows, targets = validation.table(), validation.targets()

    def bits(model):
        return kind("causal-lm").scores(task, targets, model.judge(task, rows, targets))["bits_per_byte"]

    base = tiny_base_model(stories)
    reader = PromptReader.of_base(stories, max_length=None, context_tokens=base.context_tokens)
    untuned = bits(TextGenerator(load_decoder(stories, torch.float32).eval(), reader.cut_at(512), Input.TEXT))
    rates = {"learning_rate": 2e-3, "lora_learning_rate": 1e-2}
    model, reports = fit(
        stories, setting, tmp_path, {"method": method, "num_train_epochs": 4, "batch_size": 8, **rates}
    )
    assert bits(model) == pytest.approx(kind("causal-lm").scores(task, targets, reports[-1][1])["bits_per_byte"])
    assert bits(model) < untuned - 0.5

    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    written = model.predict(rows).field("text").to_pylist()
    loaded = trainer_class("trl").load(folder)
    assert loaded.predict(rows).field("text").to_pylist() == written and len(set(written)) > 1
    assert bits(loaded) == pytest.approx(bits(model), abs=1e-6)
    # The library alone, a row at a time.
    tokenizer, alone = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    for text, answer in zip(rows["text"].to_pylist(), written, strict=True):
        prompt = tokenizer(f"{text}\n", return_tensors="pt")
        found = alone.generate(**prompt)[0, prompt["input_ids"].shape[1] :]
        assert tokenizer.decode(found, skip_special_tokens=True).strip() == answer.strip()


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_smaller_micro_batches_change_nothing(base, setting, tmp_path, losses):
    config = {**FULL, "num_train_epochs": 2}
    _, whole = fit(base, setting, tmp_path, config)
    _, parts = fit(base, setting, tmp_path, config, micro_batch_size=2)
    nats = [reports[-1][1].field("nats").to_numpy() for reports in (whole, parts)]
    np.testing.assert_allclose(nats[0], nats[1], rtol=1e-2)
    assert len(losses) == 10 + 40


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_out_of_memory_halves_the_micro_batch(base, setting, tmp_path, monkeypatch):
    import trl

    plain = trl.SFTTrainer.compute_loss

    def limited(self, model, inputs, *args, **kwargs):
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(trl.SFTTrainer, "compute_loss", limited)
    model, reports = fit(base, setting, tmp_path, {**FULL, "num_train_epochs": 1})
    assert model.micro_batch_size == 2 and len(reports) == 1


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
@pytest.mark.parametrize("config", [FULL, LORA], ids=["full", "lora"])
@pytest.mark.filterwarnings("error:.*gradient_checkpointing:FutureWarning")
def test_where_one_row_does_not_fit_activations_are_computed_twice(
    base, setting, tmp_path, monkeypatch, losses, config
):
    import trl

    config = {**config, "num_train_epochs": 1}
    task, data = setting
    _, kept = fit(base, setting, tmp_path, config, micro_batch_size=1)
    expected = list(losses)
    plain = trl.SFTTrainer.compute_loss

    def limited(self, model, inputs, *args, **kwargs):
        layers = [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]
        if not any(layer.gradient_checkpointing and layer.training for layer in layers):
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(trl.SFTTrainer, "compute_loss", limited)
    trainer, limits = trainer_class("trl")(tiny_base_model(base), base), Limits(num_threads=1, cache=tmp_path)
    cost = trainer.measure(trainer.Config(**config), task, data, limits=limits)
    assert cost.micro_batch_size == 1 and cost.checkpointing
    losses.clear()
    model, again = fit(base, setting, tmp_path, config, rungs=(0.5, 1.0))
    assert model.micro_batch_size == 1
    np.testing.assert_allclose(losses, expected, atol=1e-4)
    outputs = [reports[-1][1] for reports in (kept, again)]
    assert outputs[0].field("text") == outputs[1].field("text")
    np.testing.assert_allclose(*(found.field("nats").to_numpy() for found in outputs), rtol=1e-4)
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    for network in (model.network, trainer_class("trl").load(folder).network):
        assert not any(getattr(module, "gradient_checkpointing", False) for module in network.modules())
        assert network.config.use_cache


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_prediction_goes_on_with_fewer_rows_where_memory_runs_out(base, setting, tmp_path, monkeypatch):
    task, data = setting
    model, reports = fit(base, setting, tmp_path, FULL)
    validation = data.all.table().take(pa.array(data.validation))
    targets = data.all.targets().take(pa.array(data.validation))
    generated, passed, wide = [], [], []
    generate, forward = model.network.generate, type(model.network).forward

    def limited(input_ids, **kwargs):
        (generated if len(input_ids) <= 2 else wide).append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return generate(input_ids=input_ids, **kwargs)

    def limited_forward(self, input_ids, **kwargs):
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        passed.append(len(input_ids))
        return forward(self, input_ids, **kwargs)

    monkeypatch.setattr(model.network, "generate", limited)
    monkeypatch.setattr(type(model.network), "forward", limited_forward)
    found = model.judge(task, validation, targets)
    assert found.field("text") == reports[-1][1].field("text")
    np.testing.assert_allclose(found.field("nats").to_numpy(), reports[-1][1].field("nats").to_numpy(), rtol=1e-4)
    assert generated == [2] * 4 and wide and set(passed) == {2}, "nothing that was generated is generated again"


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_long_prompts_are_generated_fewer_at_once(base, setting, tmp_path, monkeypatch):
    _, data = setting
    model, _ = fit(base, setting, tmp_path, {**FULL, "num_train_epochs": 1})
    shapes, generate = [], model.network.generate
    monkeypatch.setattr("autosft.trainers.decoder._PROMPT_TOKENS", 100)
    monkeypatch.setattr(
        model.network,
        "generate",
        lambda input_ids, **kwargs: shapes.append(input_ids.shape) or generate(input_ids=input_ids, **kwargs),
    )
    assert len(model.predict(data.all.table().slice(0, 20))) == 20
    assert len(shapes) > 1 and all(rows * (length + model._max_new_tokens) <= 100 for rows, length in shapes)


def test_long_answers_leave_half_of_the_context_to_the_prompt(base, tmp_path):
    table = pa.table({"q": ["what is sky"] * 48, "a": ["x" * 120] * 48})
    task = Task("causal-lm", "", ("q",), "a", Metric("bits_per_byte", False))
    setting = task, training_data(kind("causal-lm"), task, table, tmp_path)
    model, _ = fit(base, setting, tmp_path, {**FULL, "num_train_epochs": 1})
    assert model.network.generation_config.max_new_tokens == 64


@pytest.mark.parametrize("setting", ["chat"], indirect=True)
def test_rows_reach_trl_as_arrow(base, setting):
    from autosft.inputs.prompts import MessagesReader

    _, data = setting
    reader = MessagesReader.of_base(base, max_length=None, context_tokens=128)
    examples = reader.examples(data.all.table())
    rows = np.array([7, 3, 40])
    table = examples.table(rows)
    assert table.column_names == ["input_ids", "labels"]
    assert {str(type) for type in table.schema.types} == {"list<item: int32>"}
    for at, row in enumerate(rows.tolist()):
        assert table["input_ids"][at].as_py() == examples.ids(row).tolist()
        assert table["labels"][at].as_py() == examples.labels(row).tolist()


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_no_training_begins_with_a_walk_through_all_rows(base, setting, tmp_path, monkeypatch):
    import datasets

    walked, plain = [], datasets.Dataset.__iter__

    def walk(self):
        for row in plain(self):
            walked.append(row)
            yield row

    monkeypatch.setattr(datasets.Dataset, "__iter__", walk)
    fit(base, setting, tmp_path, {**FULL, "num_train_epochs": 1})
    assert len(walked) <= 1, "TRL looks at the first row"


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_a_time_limit_is_kept(base, setting, tmp_path):
    started = time.monotonic()
    model, reports = fit(base, setting, tmp_path, {**FULL, "num_train_epochs": 100_000}, time_limit_seconds=4.0)
    assert time.monotonic() - started < 16, "4 seconds, and time to spare for a busy machine"
    assert [share for share, _ in reports] == [1.0] and 0 < model.share_trained < 1


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_a_stop_file_ends_the_training(base, setting, tmp_path):
    (tmp_path / "stop").touch()
    with pytest.raises(TrialFailed, match="stopped"):
        fit(base, setting, tmp_path, FULL, stop_file=tmp_path / "stop")


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_a_loss_that_is_no_number_fails_the_trial(base, setting, tmp_path):
    with pytest.raises(TrialFailed, match="became"):
        fit(base, setting, tmp_path, {**FULL, "learning_rate": 1e30})


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_a_model_that_diverges_in_its_last_step_fails_the_trial(base, setting, tmp_path, monkeypatch):
    import trl

    plain = trl.SFTTrainer.train

    def diverging(self, *args, **kwargs):
        found = plain(self, *args, **kwargs)
        with torch.no_grad():
            next(self.model.parameters()).fill_(math.nan)
        return found

    monkeypatch.setattr(trl.SFTTrainer, "train", diverging)
    with pytest.raises(TrialFailed, match="outputs became NaN"):
        fit(base, setting, tmp_path, {**FULL, "num_train_epochs": 1})


def test_the_cost_is_positive(base, setting, tmp_path):
    task, data = setting
    trainer = trainer_class("trl")(tiny_base_model(base), base)
    limits = Limits(num_threads=1, cache=tmp_path)
    cost = trainer.measure(trainer.Config(), task, data, limits=limits)
    assert min(cost.setup_seconds, cost.run_seconds, cost.predict_rows_per_second, cost.max_length) > 0
    assert cost.micro_batch_size == 16 and cost.share_cut == 0


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_without_peft_the_error_names_the_extra(base, setting, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"autosft\[llm\]"):
        fit(base, setting, tmp_path, LORA)


@pytest.mark.parametrize("input", [Input.TEXT, Input.MESSAGES])
def test_the_default_lies_inside_the_search_space(base, input):
    trainer = trainer_class("trl")
    default = asdict(trainer.default_config(tiny_base_model(base), 1000, input, Output.TEXT))
    space = load_space("trl", input, Output.TEXT)
    space.check(trainer.Config)
    for parameter in space.parameters:
        if parameter.type == "choice":
            assert default[parameter.name] in parameter.values
        elif parameter.scale != "default":
            assert parameter.low <= default[parameter.name] <= parameter.high


@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_texts_are_generated_only_where_they_are_scored(base, setting, tmp_path):
    task, data = setting
    _, reports = fit(base, (replace(task, answer=None), data), tmp_path, {**FULL, "num_train_epochs": 1})
    outputs = reports[-1][1]
    assert outputs.field("text").null_count == 8
    assert all(math.isfinite(nats) for nats in outputs.field("nats").to_pylist())


@pytest.mark.parametrize("target", ["all-linear", "attention"])
@pytest.mark.parametrize("setting", ["causal-lm"], indirect=True)
def test_adapters_stand_where_they_are_wanted(base, setting, tmp_path, target):
    from safetensors.torch import load_file

    model, _ = fit(base, setting, tmp_path, {**LORA, "lora_target": target, "num_train_epochs": 1})
    model.save(Path(tmp_path))
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert set(after) == set(before)
    changed = {name.split(".")[-3] for name in before if not torch.equal(before[name], after[name])}
    assert changed == ({"self_attn", "mlp"} if target == "all-linear" else {"self_attn"})


def test_only_models_that_write_are_candidates_for_texts(base, tiny_model):
    assert describe(str(base)).generates and not describe(str(tiny_model)).generates
    writers = candidates(Input.MESSAGES, Output.TEXT, offline=False)
    assert writers[0].num_parameters == min(row.num_parameters for row in writers)
    assert all(row.generates and row.licence == "apache-2.0" for row in writers)
    assert not any(row.generates for row in candidates(Input.TEXT, Output.LABEL, offline=False))
    on_gpu = candidates(Input.TEXT, Output.TEXT, device_memory_bytes=80 * 2**30, offline=False)
    assert on_gpu[0].num_parameters > 1e9


def test_a_base_model_that_writes_nothing_is_refused(base, tiny_model):
    options = {"num_rows": 100, "trainers": None, "space": None, "machine": Machine(1, 0)}
    arms, _ = draft_arms(Input.TEXT, Output.TEXT, models=[str(base)], **options)
    assert [arm.trainer for arm in arms] == ["trl"]
    with pytest.raises(BaseModelError, match="writes no text"):
        draft_arms(Input.TEXT, Output.TEXT, models=[str(tiny_model)], **options)
