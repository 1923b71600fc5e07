"""What autosft claims of a GPU. On a machine with one, while nobody else uses it: `pytest -m gpu tests/test_gpu.py`.

What looks at the machine and at workers comes first, as long as this process itself holds nothing on the GPU.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import safe_open
from torch import nn

import autosft
from autosft.accounting import PHASES
from autosft.arrays import to_matrix
from autosft.data.data import Rows
from autosft.planning.machine import machine_here, resources_on
from autosft.search.job import Ended
from autosft.search.runner import Runner
from autosft.search.settings import Machine
from autosft.task import Input, Metric, Output, Task
from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts, tiny_training_data
from autosft.testing.tiny_models import tiny_base_model, write_tiny_decoder, write_tiny_encoder
from autosft.tracking.base import Tracker
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.encoder import EncoderModel, PooledClassifier
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig
from autosft.trainers.with_transformers import TransformersConfig, TransformersTrainer
from autosft.trainers.with_trl import TrlConfig, TrlTrainer

pytestmark = pytest.mark.gpu

PLAIN = TransformersConfig(learning_rate=2e-3, num_train_epochs=2, batch_size=16, dropout=0.0, head="mean")


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Lets workers import this module, and takes back what a Runner sets: the GPUs that its Ray may see."""
    with mock.patch.dict(os.environ):
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        yield


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    with environment():
        yield


def nvidia_smi(*fields: str, gpu: str | None = None) -> list[list[str]]:
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    done = subprocess.run([*command, *([f"--id={gpu}"] if gpu else [])], capture_output=True, text=True, check=True)
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]


@pytest.fixture(scope="module", autouse=True)
def here() -> Machine:
    """This machine, if it has a GPU that nobody uses."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch sees none here")
    if not shutil.which("nvidia-smi"):
        pytest.skip("needs nvidia-smi, which says what GPUs are free")
    if all(int(used) > 0.05 * int(total) for used, total in nvidia_smi("memory.used", "memory.total")):
        pytest.skip("needs a free GPU, and others use those that are here")
    return machine_here()


class TestMachine:
    def test_a_gpu_that_is_free_is_found(self, here: Machine) -> None:
        assert here.gpus == len(here.gpu_ids) >= 1
        [[total]] = nvidia_smi("memory.total", gpu=here.gpu_ids[0])
        assert 0.5 * int(total) * 2**20 < here.gpu_memory_bytes <= int(total) * 2**20
        assert resources_on(here, gpus_per_trial=None, max_concurrent=None).gpus_per_trial == 1

    def test_one_that_is_hidden_is_not_counted(self, here: Machine) -> None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        assert machine_here().gpus == 0
        os.environ["CUDA_VISIBLE_DEVICES"] = here.gpu_ids[-1]
        assert machine_here().gpu_ids == here.gpu_ids[-1:]
        [[uuid]] = nvidia_smi("uuid", gpu=here.gpu_ids[-1])
        os.environ["CUDA_VISIBLE_DEVICES"] = uuid
        assert machine_here().gpu_ids == here.gpu_ids[-1:]

    def test_one_whose_memory_another_process_holds_is_left_alone_until_it_is_free_again(self, here: Machine) -> None:
        gpu = here.gpu_ids[-1]
        code = (
            "import sys, torch\n"
            "held = torch.ones(torch.cuda.mem_get_info()[1] // 5, dtype=torch.uint8, device='cuda')\n"
            "torch.cuda.synchronize()\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | {"CUDA_VISIBLE_DEVICES": gpu}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            assert machine_here().gpu_ids == tuple(name for name in here.gpu_ids if name != gpu)
        finally:
            other.communicate(timeout=60)
        deadline = time.monotonic() + 30
        while gpu not in machine_here().gpu_ids and time.monotonic() < deadline:
            time.sleep(0.5)
        assert machine_here().gpu_ids == here.gpu_ids


def sees(report: Callable[..., None]) -> dict[str, Any]:
    """What a job sees of the GPUs."""
    count = torch.cuda.device_count()
    uuids = [str(torch.cuda.get_device_properties(at).uuid) for at in range(count)]
    return {"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "uuids": uuids}


def meet(report: Callable[..., None], *, mine: str, other: str) -> tuple[int, list[str], float]:
    """Computes on the GPU while the other job does, or fails."""
    Path(mine).touch()
    deadline = time.monotonic() + 90
    while not Path(other).exists():
        assert time.monotonic() < deadline, "the other job never ran beside this one"
        time.sleep(0.05)
    weights = torch.eye(64, device="cuda")
    return os.getpid(), sees(report)["uuids"], float((weights @ weights).sum())


def fill(report: Callable[..., None], *, num_bytes: int) -> int:
    """Allocates on the GPU and lets go of it; returns how much this worker had reserved before."""
    before = torch.cuda.memory_reserved()
    if num_bytes:
        held = torch.ones(num_bytes, dtype=torch.uint8, device="cuda")
        assert int(held[-1]) == 1
    return before


def name_of(function: Callable[..., Any]) -> str:
    return f"test_gpu:{function.__name__}"


class TestWorkers:
    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, here: Machine) -> Machine:
        """This machine as if its last GPU were the only one."""
        return replace(here, cpus=max(2, here.cpus), gpus=1, gpu_ids=here.gpu_ids[-1:])

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls, one: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
        with environment(), Runner(scratch=tmp_path_factory.mktemp("gpu") / "ray", machine=one) as started:
            assert started.machine().gpus >= 1
            yield started

    def test_a_job_sees_the_gpu_that_it_asked_for_and_no_other(self, runner: Runner, one: Machine) -> None:
        found = runner.run(name_of(sees), {}, gpus=1.0).value
        assert found["visible"] == one.gpu_ids[0]
        [[uuid]] = nvidia_smi("uuid", gpu=one.gpu_ids[0])
        assert [f"GPU-{name.removeprefix('GPU-')}" for name in found["uuids"]] == [uuid]

    def test_a_job_that_asked_for_none_sees_none(self, runner: Runner) -> None:
        assert runner.run(name_of(sees), {}).value["uuids"] == []

    def test_two_jobs_of_half_a_gpu_run_on_it_at_once(self, runner: Runner, tmp_path: Path) -> None:
        places = [str(tmp_path / name) for name in ("first", "second")]
        jobs = [
            runner.submit(name_of(meet), {"mine": mine, "other": other}, gpus=0.5)
            for mine, other in (places, places[::-1])
        ]
        ended: dict[str, Ended] = {}
        while len(ended) < len(jobs):
            event = runner.wait(120)
            assert isinstance(event, Ended) and event.fate == "complete", event
            ended[event.job_id] = event
        (pid, uuids, total), (other_pid, other_uuids, other_total) = (ended[job].value for job in jobs)
        assert pid != other_pid
        assert uuids == other_uuids and len(uuids) == 1
        assert total == other_total == 64

    def test_a_warm_worker_gives_the_gpus_memory_back(self, runner: Runner) -> None:
        runner.run(name_of(fill), {"num_bytes": 300 * 2**20}, gpus=0.5)
        assert runner.run(name_of(fill), {"num_bytes": 0}, gpus=0.5).value < 60 * 2**20


def rows(num_rows: int) -> list[dict[str, str]]:
    texts, targets = tiny_texts(num_rows)
    return [{"message": text, "intent": LABELS[at]} for text, at in zip(texts, targets, strict=True)]


class TestFit:
    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[autosft.Result, float]:
        """A run of a minute, and the seconds it took."""
        started = time.monotonic()
        with environment():
            result = autosft.fit(
                "Route each message to its intent",
                rows(300),
                models=str(tiny_model),
                trainer="transformers",
                budget="60s",
                folder=tmp_path_factory.mktemp("minute") / "run",
                tracker=Tracker(),
            )
        return result, time.monotonic() - started

    def test_trials_have_a_gpu_each_and_the_budget_is_kept(self, fitted: tuple[autosft.Result, float]) -> None:
        result, took = fitted
        assert result.plan.resources.gpus_per_trial == 1
        assert result.plan.quote.gpu_hours > 0
        assert "complete" in {trial.fate for trial in result.trials}
        assert {trial.fate for trial in result.trials} <= {"complete", "stopped"}
        assert took < 80

    def test_every_worker_second_is_accounted_for(self, fitted: tuple[autosft.Result, float]) -> None:
        seconds = fitted[0].summary["seconds"]
        assert min(seconds.values()) >= 0
        counted = sum(seconds[name] for name in (*PHASES, "start_up", "idle"))
        assert counted == pytest.approx(seconds["wall"] * seconds["workers"], rel=0.02)
        assert min(seconds["train"], seconds["evaluate"], seconds["driver"]) > 0

    def test_the_shipped_model_is_the_one_that_was_trained(self, fitted: tuple[autosft.Result, float]) -> None:
        refit = fitted[0].summary["refit"]
        assert not refit["done"] or refit["reload_difference"] < 1e-5
        assert dtypes(fitted[0].folder / "model") == {"F32"}

    def test_it_predicts_on_a_cpu_what_it_predicts_on_a_gpu(
        self, fitted: tuple[autosft.Result, float], here: Machine
    ) -> None:
        texts, _ = tiny_texts(200, seed=1)
        on_gpu, with_gpu = predicted(fitted[0].folder, texts, visible=here.gpu_ids[0])
        on_cpu, with_none = predicted(fitted[0].folder, texts, visible="")
        assert (with_gpu, with_none) == (True, False)
        assert_the_same_but_for_bf16(on_gpu, on_cpu)

    def test_with_half_a_gpu_each_two_trials_train_at_once(self, tiny_model: Path, tmp_path: Path) -> None:
        result = autosft.fit(
            "Route each message to its intent",
            rows(1_500),
            models=str(tiny_model),
            trainer="transformers",
            budget="5 trials",
            gpus_per_trial=0.5,
            max_concurrent=2,
            scheduler="none",
            folder=tmp_path / "run",
            tracker=Tracker(),
        )
        assert (result.plan.resources.gpus_per_trial, result.plan.resources.max_concurrent) == (0.5, 2)
        assert [trial.fate for trial in result.trials] == ["complete"] * 5
        events = [json.loads(line) for line in (tmp_path / "run" / "trials.jsonl").read_text().splitlines()]
        ended = [event for event in events if event["event"] == "ended"]
        # From when to when each trial held its worker, by the run's clock.
        spans = [
            (event["spent_seconds"] - event["trial"]["seconds"]["total"], event["spent_seconds"]) for event in ended
        ]
        shared = [
            min(one[1], other[1]) - max(one[0], other[0])
            for at, one in enumerate(spans)
            for other in spans[:at]
        ]  # fmt: skip
        assert max(shared) > 0.5, spans


def predicted(folder: Path, texts: list[str], *, visible: str) -> tuple[Any, bool]:
    """Returns the probabilities that a process which sees these GPUs predicts, and whether it sees any."""
    code = (
        "import json, sys, autosft, torch\n"
        "outputs = autosft.load(sys.argv[1]).predict_proba(json.load(sys.stdin))\n"
        "print(json.dumps([outputs.tolist(), torch.cuda.is_available()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=os.environ | {"CUDA_VISIBLE_DEVICES": visible},
        input=json.dumps(texts), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs, has_gpu = json.loads(done.stdout.splitlines()[-1])
    return np.array(outputs), has_gpu


def assert_the_same_but_for_bf16(on_gpu: Any, on_cpu: Any) -> None:
    """Within a hundredth, but for one value in a hundred, and the same labels wherever they are not a toss-up."""
    difference = np.abs(on_gpu - on_cpu)
    assert np.quantile(difference, 0.99) < 1e-2
    assert difference.max() < 3e-2
    ordered = np.sort(on_cpu, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] > 0.06
    assert sure.any()
    assert (on_gpu.argmax(axis=1) == on_cpu.argmax(axis=1))[sure].all()


def dtypes(folder: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - it is no mapping
    return found


class TestTraining:
    """Trainings in this process."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _device(cls, here: Machine) -> Iterator[None]:
        yield
        gc.collect()
        torch.cuda.empty_cache()

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("training")
        write_tiny_encoder(folder / "base", words=WORDS)
        write_tiny_encoder(folder / "wide", words=WORDS, hidden_size=256)
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, place: Path) -> Any:
        return tiny_training_data(place / "data", num_rows=120)

    @pytest.mark.parametrize("head", ["mean", "architecture"])
    def test_it_computes_in_bf16_and_keeps_and_saves_float32(
        self, place: Path, subject: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
    ) -> None:
        queries, steps = [], []
        attention, step = nn.functional.scaled_dot_product_attention, torch.optim.AdamW.step

        def attend(query: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
            queries.append((query.device.type, query.dtype))
            return attention(query, *arguments, **options)

        def recorded(self: torch.optim.AdamW, *arguments: Any, **options: Any) -> Any:
            steps.append(self)
            return step(self, *arguments, **options)

        monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", attend)
        monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
        model, reports = fit(place, subject, replace(PLAIN, head=head))
        assert set(queries) == {("cuda", torch.bfloat16), ("cuda", torch.float32)}, "in training and in validation"
        assert {(weight.device.type, weight.dtype) for weight in model.network.parameters()} == {
            ("cuda", torch.float32)
        }
        assert all(group["fused"] is True for group in steps[0].param_groups)
        assert {state["exp_avg"].dtype for state in steps[0].state.values()} == {torch.float32}
        assert np.isfinite(reports[-1][1]).all()
        model.save(tmp_path)
        assert dtypes(tmp_path) == {"F32"}

    @pytest.mark.parametrize(
        ("trainer", "config"),
        [(TransformersTrainer, replace(PLAIN, num_train_epochs=8)), (FrozenHead, FrozenHeadConfig())],
    )
    def test_what_is_read_back_predicts_the_same_and_nearly_so_on_a_cpu(
        self, place: Path, subject: Any, tmp_path: Path, trainer: Any, config: Any
    ) -> None:
        model, reports = fit(place, subject, config, trainer=trainer)
        table = Rows(subject[1].all.path, subject[1].validation).table()
        on_gpu = to_matrix(model.predict(table))
        # Features are computed in other batches than predictions, which bf16 lets one see.
        np.testing.assert_allclose(on_gpu, reports[-1][1], atol=2e-2)
        model.save(tmp_path)
        loaded = EncoderModel.load(tmp_path)
        assert {weight.device.type for weight in loaded.network.parameters()} == {"cuda"}
        np.testing.assert_allclose(to_matrix(loaded.predict(table)), on_gpu, atol=1e-5)
        loaded.network.to("cpu")
        assert_the_same_but_for_bf16(on_gpu, to_matrix(loaded.predict(table)))

    def test_a_time_limit_is_kept(self, place: Path, subject: Any) -> None:
        started = time.monotonic()
        model, reports = fit(place, subject, replace(PLAIN, num_train_epochs=100_000), time_limit_seconds=3.0)
        assert time.monotonic() - started < 12
        assert 0 < model.share_trained < 1
        assert [share for share, _ in reports] == [1.0]

    def test_timing_counts_what_the_gpu_has_done_and_not_what_it_was_told(self, place: Path, subject: Any) -> None:
        bound = TransformersTrainer(tiny_base_model(place / "base"), place / "base")
        cost = bound.measure(PLAIN, *subject, limits=Limits(num_threads=1, cache=place / "cache"))
        started = time.monotonic()
        fit(place, subject, PLAIN)
        assert cost.micro_batch_size == PLAIN.batch_size
        assert 0 < cost.run_seconds < 10 * (time.monotonic() - started)

    def test_where_memory_runs_out_the_micro_batch_is_halved_and_the_batch_stays(
        self, place: Path, tmp_path: Path
    ) -> None:
        if torch.cuda.device_count() > 1:
            pytest.skip("looks at the memory of one GPU: set CUDA_VISIBLE_DEVICES to one")
        large = tiny_training_data(tmp_path / "data", num_rows=1_300)
        config = replace(PLAIN, learning_rate=1e-3, num_train_epochs=1, batch_size=512)
        fit(place, large, replace(config, batch_size=16), base="wide", fidelity=0.1)  # cuBLAS keeps a workspace.
        before = clear()
        model, whole = fit(place, large, config, base="wide")
        peak = torch.cuda.max_memory_allocated()
        assert model.micro_batch_size is None
        assert peak - before > 50 * 2**20, "otherwise there is too little to take away"
        del model
        clear()
        # The allocator counts in blocks of up to 20 MiB, so what it reserves is never less than this peak.
        allowed = before + 0.6 * (peak - before)
        torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.mem_get_info()[1])
        try:
            model, pieces = fit(place, large, config, base="wide")
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert model.micro_batch_size in (256, 128, 64)
        assert torch.cuda.max_memory_allocated() <= 1.02 * allowed
        np.testing.assert_allclose(pieces[-1][1], whole[-1][1], atol=5e-2)

    def test_a_decoder_that_computes_activations_twice_learns_the_same_in_less_memory(
        self, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = write_tiny_decoder(place / "decoder", hidden_size=256, context_tokens=1_024)
        task, data = prompts(tmp_path, "what is the colour of the sky " * 20)
        trainer = TrlTrainer(tiny_base_model(base), base)
        config = TrlConfig(method="full", learning_rate=1e-3, num_train_epochs=2, batch_size=8)
        limits = Limits(num_threads=1, cache=tmp_path / "cache")
        peaks: list[int] = []
        nats: list[Any] = []
        for crowded in (False, False, True):  # The first is there for the workspace that cuBLAS keeps.
            monkeypatch.setattr(TrlTrainer, "_is_crowded", lambda self, config, crowded=crowded: crowded)
            before = clear()
            model = trainer.fit(
                config, task, data, fidelity=1.0, seed=0, folder=tmp_path, limits=limits,
                report=lambda share, outputs: nats.append(outputs.field("nats").to_numpy()),
            )  # fmt: skip
            peaks.append(torch.cuda.max_memory_allocated() - before)
            assert model.micro_batch_size is None
            assert {weight.dtype for weight in model.network.parameters()} == {torch.float32}
            assert not any(getattr(module, "gradient_checkpointing", False) for module in model.network.modules())
            del model
        assert peaks[2] < 0.9 * peaks[1]
        np.testing.assert_allclose(nats[2], nats[1], rtol=5e-2)

    def test_several_gpus_together_see_one_batch_a_step(
        self, place: Path, subject: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if torch.cuda.device_count() < 2:
            pytest.skip("needs two GPUs")
        seen, steps = [], []
        forward, step = PooledClassifier.forward, torch.optim.AdamW.step

        def counted(self: PooledClassifier, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(len(input_ids))
            return forward(self, input_ids, attention_mask)

        def stepped(self: torch.optim.AdamW, *arguments: Any, **options: Any) -> Any:
            steps.append(sum(seen))
            seen.clear()
            return step(self, *arguments, **options)

        monkeypatch.setattr(PooledClassifier, "forward", counted)
        monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
        # 96 rows train: sixteen batches of six an epoch.
        fit(place, subject, replace(PLAIN, batch_size=6, num_train_epochs=1), micro_batch_size=3)
        assert steps == [6] * 16


def prompts(folder: Path, prompt: str) -> tuple[Task, TrainingData]:
    """Returns forty rows of a prompt and a colour, of which the last eight validate."""
    rows = pa.table({"text": [f"{prompt}{at}" for at in range(40)], "target": ["blue", "green"] * 20})
    with pa.ipc.new_file(str(folder / "rows.arrow"), rows.schema) as writer:
        writer.write_table(rows)
    task, at = Task("causal-lm", "", ("text",), "target", Metric("bits_per_byte", False)), np.arange(40)
    data = TrainingData(Input.TEXT, Output.TEXT, Rows(folder / "rows.arrow"), at[:-8], at[-8:], "fingerprint")
    return task, data


def clear() -> int:
    """Lets go of what trainings left on the GPU; returns the bytes that stay."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def fit(
    place: Path,
    subject: Any,
    config: Any,
    *,
    trainer: Any = TransformersTrainer,
    base: str = "base",
    fidelity: float = 1.0,
    **limits: Any,
) -> tuple[Any, list[Any]]:
    """Returns the model, and what was reported."""
    reports: list[Any] = []
    model = trainer(tiny_base_model(place / base), place / base).fit(
        config,
        *subject,
        fidelity=fidelity,
        seed=0,
        folder=place,
        report=lambda share, outputs: reports.append((share, to_matrix(outputs))),
        limits=Limits(num_threads=1, cache=place / "cache", **limits),
    )
    return model, reports
