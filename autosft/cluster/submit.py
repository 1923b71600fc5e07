"""A command of autosft's as a Ray job: its files are uploaded, it runs beside the cluster's head, its words come back.

What is uploaded is what the command names, and nothing else of this machine.
"""

from __future__ import annotations

import itertools
import logging
import os
import shlex
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.cluster.address import ANSWER_SECONDS, let_in
from autosft.errors import AutosftError, MissingExtraError, PlanError, explain

#: Verbs that search, and those that write a folder of their own.
_SEARCHING, _WRITING = frozenset({"fit", "plan", "resume", "batch"}), frozenset({"fit", "batch", "demo"})

#: Options that name what is written, on the cluster's disk.
_WRITTEN = frozenset({"--folder", "--out", "--next-space"})

#: Options whose values are words, and no places, whatever lies about under such a name.
_WORDS = frozenset(
    f"--{name}"
    for name in (
        "task", "target", "inputs", "trainer", "metric", "positive", "group", "time", "kind", "answer", "budget",
        "sampler", "scheduler", "max-concurrent", "gpus-per-trial", "fixes-off", "tracker", "cluster", "seed",
    )
)  # fmt: skip

#: Where runs go that name no folder; the job's own folder is removed with the job.
RUNS_THERE = "$HOME/autosft-runs"

#: What Ray says while a new head's agent is not up, and how long that may last.
_NOT_YET, _START_SECONDS = "No available agent", 60.0

_MISSING_THERE = explain(
    wrong="autosft is not installed on the cluster's head",
    expected="a Python there that can import it",
    fix="put autosft into the cluster's image, or install it on every node with pip install autosft",
)


@dataclass(frozen=True)
class Submitted:
    """A job that the cluster has taken.

    Attributes:
        job_id: Its name there.
        command: What runs, as a shell would be told.
        uploaded: Names of the files and folders that were uploaded, relative to the working folder.
    """

    job_id: str
    command: str
    uploaded: tuple[str, ...]


def submit(
    arguments: Sequence[str], *, address: str, working_folder: Path, also: Sequence[str] = ()
) -> tuple[Submitted, Any]:
    """Sends a command to a cluster's dashboard; returns the job, and the client to follow it with.

    Args:
        arguments: Of the command `autosft`, the verb first.
        address: Of the dashboard, such as http://head:8265.
        working_folder: What relative paths in the command start from.
        also: Further files and folders below it to upload.

    Raises:
        PlanError: There is no dashboard, it lets nobody in, or a file cannot be uploaded.
        MissingExtraError: The extra `cluster` is not installed.
    """
    entrypoint = _command(arguments)
    upload = _uploaded(arguments, working_folder, also)
    client = _client(address)
    with upload as (folder, names):
        environment = {"working_dir": str(folder)} if names else {}
        job_id = _sent(client, address, entrypoint=entrypoint, runtime_env=environment)
    return Submitted(job_id, entrypoint, names), client


def _sent(client: Any, address: str, **job: Any) -> str:
    """Hands a job to the dashboard; a head that has just been started needs a moment before it takes one.

    Raises:
        PlanError: It does not take it.
    """
    # Ray's client tells every file that it packs.
    for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
        logging.getLogger(name).setLevel(logging.ERROR)
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            return str(client.submit_job(**job))
        except (RuntimeError, ConnectionError, OSError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            if _NOT_YET in said and time.monotonic() < until:
                time.sleep(1.0)
                continue
            wrong = f"the cluster at {address} did not take the job ({said})"
            log = "dashboard_agent.log" if _NOT_YET in said else "dashboard.log"
            fix = f"see /tmp/ray/session_latest/logs/{log} on the head"
            raise PlanError(explain(wrong=wrong, expected="a job's id", fix=fix)) from error


def follow(submitted: Submitted, client: Any, write: Callable[[str], None]) -> int:
    """Passes on what a job says until it ends; returns its exit code.

    Raises:
        PlanError: The dashboard is gone; the job may still run.
    """
    import asyncio

    async def tail() -> None:
        async for text in client.tail_job_logs(submitted.job_id):
            write(text)

    try:
        asyncio.run(tail())
        found = client.get_job_info(submitted.job_id)
    except (RuntimeError, ConnectionError, OSError) as error:
        wrong = f"the dashboard no longer answers ({type(error).__name__}), and job {submitted.job_id} may still run"
        fix = f"ray job logs --follow {submitted.job_id}, once the dashboard is back"
        raise PlanError(explain(wrong=wrong, expected="the end of the job", fix=fix)) from error
    if found.driver_exit_code is not None:
        return int(found.driver_exit_code)
    return 0 if str(found.status) == "SUCCEEDED" else 1


def _command(arguments: Sequence[str]) -> str:
    """Returns the shell's words for a command that runs on the head.

    Raises:
        PlanError: It would write where nobody finds it again.
    """
    verb, given = arguments[0], _options(arguments)
    words = [_word(word) for word in arguments]
    for name in _WRITTEN & given.keys():
        if not os.path.isabs(given[name]) and not given[name].startswith("~/"):
            wrong = f"{name} {given[name]} would lie in the job's own folder on the cluster, which goes with the job"
            fix = f"pass an absolute path on the head's disk, or leave it out for a folder in {RUNS_THERE}"
            raise PlanError(explain(wrong=wrong, expected="a place that stays", fix=fix))
    if verb in _WRITING and "--folder" not in given:
        # The shell on the head knows its home; $$ tells apart what begins in the same second.
        words += ["--folder", f'"{RUNS_THERE}/$(date +%Y-%m-%d_%H-%M-%S)-$$"']
    if verb in _SEARCHING and "--cluster" not in given:
        words += ["--cluster", "auto"]
    missing = f"{{ printf '%s\\n' {shlex.quote('autosft: ' + _MISSING_THERE)} >&2; exit 2; }}"
    return f"python -c 'import autosft' 2>/dev/null || {missing}; exec python -m autosft {' '.join(words)}"


def _word(word: str) -> str:
    """Quotes a word for the head's shell; a path below its home leads there also from inside of quotes."""
    before, tilde, below = word.partition("~/")
    if tilde and (not before or (before.startswith("--") and before.endswith("="))):
        return f'{before and shlex.quote(before)}"$HOME"/{shlex.quote(below)}'
    return shlex.quote(word)


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Returns what stands behind each option that names one, in either way of writing it."""
    found = {}
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            found[name] = value if equals else following
    return found


def _client(address: str) -> Any:
    """Connects to a dashboard.

    Raises:
        PlanError: There is none, or it lets nobody in.
        MissingExtraError: The extra is not installed.
    """
    try:
        import aiohttp  # noqa: F401 - Ray's client follows logs with it.
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        wrong = f"sending jobs to a cluster needs a package that is not here ({error.name})"
        raise MissingExtraError(
            explain(wrong=wrong, expected="ray[default]", fix="pip install 'autosft[cluster]'")
        ) from error
    if not address.startswith(("http://", "https://")):
        wrong = f"--address {address} is no address of a dashboard"
        fix = "pass http://HEAD:8265; the port is the one that `ray start --head` prints for the dashboard"
        raise PlanError(explain(wrong=wrong, expected="http:// or https://", fix=fix))
    _check_dashboard(address)
    try:
        return let_in(address, lambda: JobSubmissionClient(address))
    except (RuntimeError, ConnectionError, OSError) as error:
        if isinstance(error, AutosftError):
            raise
        raise PlanError(_no_dashboard(address, str(error).splitlines()[0])) from error


def _check_dashboard(address: str) -> None:
    """Makes sure within seconds that something answers there, since Ray's client waits without an end."""
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/api/version", timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise PlanError(_no_dashboard(address, f"HTTP {error.code}")) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise PlanError(_no_dashboard(address, str(getattr(reason, "strerror", None) or reason))) from error
    except ValueError as error:
        raise PlanError(_no_dashboard(address, str(error))) from error


def _no_dashboard(address: str, why: str) -> str:
    return explain(
        wrong=f"no dashboard of a Ray cluster answers at {address} ({why})",
        expected="the dashboard of a cluster that was started with ray[default]",
        fix="start the head with `ray start --head --include-dashboard=true`, and where it is not on this machine, "
        "forward its port: ssh -L 8265:localhost:8265 HEAD",
    )


class _uploaded:
    """A folder with what a command names, links to the files themselves where the disk allows."""

    def __init__(self, arguments: Sequence[str], working_folder: Path, also: Sequence[str]) -> None:
        self._working = working_folder.absolute()
        self._names = tuple(dict.fromkeys([*_named(arguments, self._working), *_further(also, self._working)]))
        self._folder = tempfile.TemporaryDirectory(prefix="autosft-upload-")

    def __enter__(self) -> tuple[Path, tuple[str, ...]]:
        _check_size(self._working, self._names)
        for name in self._names:
            source, target = self._working / name, Path(self._folder.name) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True, ignore_dangling_symlinks=True)
            elif not target.exists():
                _link(source, target)
        return Path(self._folder.name), self._names

    def __exit__(self, *exc: object) -> None:
        self._folder.cleanup()


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def _named(arguments: Sequence[str], working: Path) -> Iterator[str]:
    """Yields relative paths in a command that lead to something below the working folder.

    Raises:
        PlanError: One leads to something on this machine that is outside of it.
    """
    written = _options(arguments)
    for before, word in itertools.pairwise(arguments):
        option = word.partition("=")[0] if word.startswith("--") else before
        if option in _WORDS:
            continue
        name = word.partition("=")[2] if word.startswith("--") else word
        for part in name.split(","):
            if not part or os.path.isabs(part) or part in {written.get(option) for option in _WRITTEN}:
                continue
            if _exists(working / part):
                yield _below(part, working)


def _further(also: Sequence[str], working: Path) -> Iterator[str]:
    for name in also:
        if not _exists(working / name):
            wrong = f"there is no {name} in {working}"
            raise PlanError(explain(wrong=wrong, expected="a file or folder", fix="correct --with or --working-dir"))
        yield _below(name, working)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # A sentence is no path: it may be too long for one.
        return False


def _below(name: str, working: Path) -> str:
    normal = os.path.normpath(name)
    if os.path.isabs(name) or normal in (".", "..") or normal.startswith(".." + os.sep):
        wrong = f"{name} does not lie below {working}, so it is not uploaded"
        fix = "pass the folder that holds it with --working-dir, or an absolute path on the cluster's own disk"
        raise PlanError(explain(wrong=wrong, expected="a path below the working folder", fix=fix))
    return normal


def _check_size(working: Path, names: Sequence[str]) -> None:
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    places = [working / name for name in names]
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size >= GCS_STORAGE_MAX_SIZE:
        wrong = (
            f"{', '.join(names)} hold {size / 2**20:,.0f} MiB, and Ray takes {GCS_STORAGE_MAX_SIZE / 2**20:,.0f} MiB"
        )
        fix = "copy the data to the head, or to a disk that it shares, and name them by their absolute path there"
        raise PlanError(explain(wrong=wrong, expected="less to upload with a job", fix=fix))
