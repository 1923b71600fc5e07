"""What tracking with W&B costs: the same search untracked, tracked offline, or tracked online against a stand-in.

    python benchmarks/tracking.py [--rounds 6] [--trials 24] [--rows 1200] [--tracked offline online] [--together]

Each search is a process of its own, with the same rows, seed and number of trials; they take turns in changing order,
or run at the same time with --together, so that on a machine with other work each meets the same load.
Counted are the CPU seconds of a control group (cgroup) that a search and all that it starts stand in: Ray, its workers,
the mirror and wandb-core. It needs Linux and the right to make such a group. The server is a stand-in in this process,
which is not counted. The base model is tiny and a trial takes a second or two, so that tracking weighs more than it
would beside real training; more --rows make trials longer. `alone` is the mirror by itself, over the folder of the
untracked search: the same work without the noise of two searches. Keeps a JSON line a search in results/tracking.jsonl.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "tracking.jsonl"
LIMIT = 0.03
#: Where groups are made, and the file and unit of their CPU time: version 2 first, then version 1.
CGROUPS = (
    ("/sys/fs/cgroup/unified", "cpu.stat", 1e-6), ("/sys/fs/cgroup", "cpu.stat", 1e-6),
    ("/sys/fs/cgroup/cpuacct", "cpuacct.usage", 1e-9),
)  # fmt: skip

SEARCH = """
import sys
import autosft
from autosft.testing.tiny_data import LABELS, tiny_texts

if __name__ == "__main__":
    model, folder, trials, num_rows, tracker = sys.argv[1:]
    texts, targets = tiny_texts(int(num_rows))
    rows = [{"text": text, "label": LABELS[target]} for text, target in zip(texts, targets)]
    autosft.fit("sort messages by topic", rows, models=model, budget=f"{trials} trials", tracker=tracker or None,
        folder=folder)
"""


class Counted:
    """A control group, and the CPU seconds of every process that ever stood in it."""

    def __init__(self, folder: Path, file: str, unit: float) -> None:
        self.folder, self.file, self.unit = folder, file, unit

    @classmethod
    @contextlib.contextmanager
    def group(cls) -> Iterator[Counted]:
        made = next(filter(None, (cls._make(*place) for place in CGROUPS)), None)
        if made is None:
            raise SystemExit("no control group can be made here: run it as root, on Linux")
        yield made
        made._remove()

    @classmethod
    def _make(cls, parent: str, file: str, unit: float) -> Counted | None:
        made = cls(Path(parent, f"autosft-{uuid.uuid4().hex}"), file, unit)
        try:
            made.folder.mkdir()
        except OSError:
            return None
        if (made.folder / file).exists():
            return made
        made._remove()
        return None

    def _remove(self) -> None:
        # A process that has just ended still counts as one for a moment.
        for _ in range(100):
            with contextlib.suppress(OSError):
                return self.folder.rmdir()
            time.sleep(0.1)

    def run(self, command: list[str], environment: dict[str, str], cwd: str) -> None:
        joining = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs")]
        done = subprocess.run(
            [*joining, *command], cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        while (self.folder / "cgroup.procs").read_text().split():
            time.sleep(0.1)

    def seconds(self) -> float:
        words = (self.folder / self.file).read_text().split()
        return int(words[words.index("usage_usec") + 1] if "usage_usec" in words else words[0]) * self.unit


def measure(
    program: str, model: Path, trials: int, num_rows: int, environment: dict[str, str], alone: bool
) -> dict[str, Any]:
    """Runs a search; returns what it took, and where it was not tracked what the mirror alone takes for it."""
    with tempfile.TemporaryDirectory() as scratch, Counted.group() as group:
        (Path(scratch) / "search.py").write_text(SEARCH, encoding="utf-8")
        folder, started = Path(scratch) / "run", time.monotonic()
        tracker = "" if program == "untracked" else "wandb"
        command = [sys.executable, "search.py", str(model), str(folder), str(trials), str(num_rows), tracker]
        group.run(command, {**environment, "AUTOSFT_CACHE": f"{scratch}/cache"}, scratch)
        row = {"program": program, "cpu_seconds": group.seconds(), "wall_seconds": time.monotonic() - started}
        summary = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        row |= {"num_rows": num_rows, "num_trials": summary["num_trials"], "test_score": summary["test"]["score"]}
        row |= {"num_tracked": _num_tracked(folder)}
        if alone:
            with Counted.group() as mirror:
                (folder / "wandb").mkdir()
                command = [
                    sys.executable,
                    "-m",
                    "autosft.tracking.wandb_mirror.follow",
                    str(folder),
                    "--project",
                    "spam",
                ]
                mirror.run([*command, "--last-seconds", "120", "--offline"], {}, scratch)
                row |= {"alone_cpu_seconds": mirror.seconds(), "alone_num_tracked": _num_tracked(folder)}
    return row


def _num_tracked(folder: Path) -> int:
    sent = folder / "wandb" / "sent.json"
    places = json.loads(sent.read_text(encoding="utf-8"))["places"] if sent.exists() else {}
    return sum(len(place["digests"]) for place in places.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--rows", type=int, default=1200)
    parser.add_argument("--together", action="store_true", help="the searches of a round run at the same time")
    parser.add_argument("--tracked", nargs="+", choices=("offline", "online"), default=("offline", "online"))
    arguments = parser.parse_args()
    programs = ("untracked", *arguments.tracked)
    sys.path.insert(0, str(ROOT / "tests" / "tracking"))
    from wandb_server import WandbServer

    from autosft.testing.tiny_data import WORDS
    from autosft.testing.tiny_models import write_tiny_encoder

    server = WandbServer()
    places = {"untracked": {}, "offline": {"WANDB_MODE": "offline"}, "online": server.environment()}
    versions = {name: importlib.metadata.version(name) for name in ("wandb", "ray", "torch")}
    measured: dict[str, list[float]] = {program: [] for program in programs}
    alone: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, RESULTS.open("a", encoding="utf-8") as file:
        model = write_tiny_encoder(Path(scratch) / "tiny", words=WORDS)
        # The first search of all pays for files that are read from disk for the first time.
        measure("untracked", model, 2, arguments.rows, {}, alone=False)
        for number in range(arguments.rounds):
            order = [programs[(at + number) % len(programs)] for at in range(len(programs))]
            load = os.getloadavg()[0]

            def one(program: str) -> dict[str, Any]:
                size = arguments.trials, arguments.rows
                return measure(program, model, *size, places[program], alone=program == "untracked")

            rows: list[dict[str, Any]] = []
            while not rows:
                try:
                    with ThreadPoolExecutor(len(order) if arguments.together else 1) as pool:
                        rows = list(pool.map(one, order))
                except RuntimeError as error:
                    # Ray gives up where a machine is too busy to start it within its time.
                    print(f"round {number} is run again: {str(error).strip().splitlines()[-1]}", flush=True)
            for row in rows:
                program, wanted = row["program"], 0 if row["program"] == "untracked" else row["num_trials"]
                if row["num_tracked"] != wanted:
                    raise SystemExit(f"{row['num_tracked']} of {wanted} trials were tracked: {row}")
                row |= {"round": number, "together": arguments.together, "load_before": load, "versions": versions}
                alone += [row["alone_cpu_seconds"]] if program == "untracked" else []
                measured[program].append(row["cpu_seconds"])
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(json.dumps(row), flush=True)
    server.close()
    untracked = statistics.median(measured["untracked"])
    print(f"the mirror alone, offline: {statistics.median(alone):.2f} s, {statistics.median(alone) / untracked:.2%}")
    for program in programs[1:]:
        pairs = list(zip(measured[program], measured["untracked"], strict=True))
        ratio = sum(tracked for tracked, _ in pairs) / sum(untracked for _, untracked in pairs)
        extra = statistics.median(tracked - untracked for tracked, untracked in pairs)
        verdict = "within" if ratio <= 1 + LIMIT else "over"
        print(
            f"{program}: {ratio - 1:+.2%} CPU seconds over {len(pairs)} pairs, {verdict} {LIMIT:.0%}; "
            f"median of the differences {extra:+.2f} s of {untracked:.1f} s"
        )


if __name__ == "__main__":
    main()
