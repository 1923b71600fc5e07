"""What autosft costs on top of a training: a `fit` of one trial against the same training by a bare Trainer.

    python benchmarks/overhead.py --data ROOT [--epochs 2] [--repeats 3]

Both are processes of their own, started in turn. Prints wall seconds, the trainer process's peak memory and that of the
whole process tree (proportional set size, so that shared pages count once), and their ratios; keeps a JSON line a run
in results/overhead.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

RESULTS = Path(__file__).parent / "results" / "overhead.jsonl"

BARE = """
import sys
import numpy as np, pyarrow.csv as csv, torch
torch.set_num_threads({threads})
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer
from transformers import TrainingArguments
from autosft.base_models import MINILM, locate
folder = str(locate(MINILM))
table = csv.read_csv(sys.argv[1])
names = sorted(set(table["category"].to_pylist()))
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer(table["text"].to_pylist(), truncation=True, max_length=512)["input_ids"]
rows = [dict(input_ids=i, labels=names.index(l)) for i, l in zip(ids, table["category"].to_pylist())]
order = np.random.default_rng(0).permutation(len(rows))
train, validation = [rows[i] for i in order[154:]], [rows[i] for i in order[:154]]
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(names), dtype=torch.float32)
arguments = TrainingArguments("{output}", num_train_epochs={epochs}, per_device_train_batch_size=32, learning_rate=2e-4,
    report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True, warmup_steps=4, optim="adamw_torch_fused",
    train_sampling_strategy="group_by_length", logging_strategy="no")
trainer = Trainer(model, arguments, train_dataset=train, eval_dataset=validation,
    data_collator=DataCollatorWithPadding(tokenizer), processing_class=tokenizer)
trainer.train()
print(trainer.evaluate())
trainer.save_model("{output}/model")
"""

OURS = """
import sys, autosft
result = autosft.fit("intent", sys.argv[1], target="category", models=["minilm"], trainer="transformers",
    budget=autosft.Budget(num_trials=1, refit=False), folder="{output}/run")
print(result.summary["seconds"])
"""


def measure(code: str, data: Path) -> dict[str, float]:
    """Runs a program; returns its wall seconds and peak memory in bytes."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(data)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    tree_peak = worker_peak = 0
    while process.poll() is None:
        try:
            parent = psutil.Process(process.pid)
            sizes = [_pss(child) for child in [parent, *parent.children(recursive=True)]]
            tree_peak, worker_peak = max(tree_peak, sum(sizes)), max(worker_peak, *sizes)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the program failed:\n{code}")
    return {"wall_seconds": time.monotonic() - started, "worker_bytes": worker_peak, "tree_bytes": tree_peak}


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.data / "intent/banking77/train_10_per_class.csv"
    rows = []
    for _ in range(arguments.repeats):
        for name, code in (("bare", BARE), ("autosft", OURS)):
            with tempfile.TemporaryDirectory() as output:
                filled = code.format(output=output, epochs=8, threads=psutil.cpu_count())
                rows.append({"program": name, **measure(filled, data)})
                print(json.dumps(rows[-1]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    for key in ("wall_seconds", "worker_bytes", "tree_bytes"):
        ours, bare = (
            statistics.median(row[key] for row in rows if row["program"] == name) for name in ("autosft", "bare")
        )
        print(f"{key}: autosft {ours:.4g}, bare {bare:.4g}, ratio {ours / bare:.2f}, difference {ours - bare:.4g}")


if __name__ == "__main__":
    main()
