"""Telling W&B what a run's folder says, through its own SDK. What is told lives in `runs`, when in `follow`."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from autosft.tracking.wandb_mirror.ledger import OFFLINE, Ledger, Place
from autosft.tracking.wandb_mirror.report import report_digest, write_report
from autosft.tracking.wandb_mirror.runs import TrackedRun, TrackedSearch
from autosft.tracking.wandb_mirror.target import Target, server

#: What a request and its repetitions may take; W&B's own limits are meant for trainings that cannot be sent again.
_REQUEST_SECONDS, _NUM_RETRIES, _RETRY_SECONDS, _FINISH_SECONDS = 10.0, 2, 2.0, 30.0

#: Would make our runs somebody else's: the user's own program may use W&B, or a sweep's agent may have started it.
_NOT_OURS = (
    "WANDB_SERVICE", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID", "WANDB_RUN_GROUP", "WANDB_RESUME",
    "WANDB_NAME", "WANDB_NOTES", "WANDB_TAGS", "WANDB_JOB_TYPE", "WANDB_PROGRAM", "WANDB_DIR", "WANDB_NOTEBOOK_NAME",
)  # fmt: skip


class NotSent(Exception):
    """W&B did not take everything."""


def settle_environment(*, offline: bool) -> None:
    """Keeps the SDK to what we ask of it; to be called before it is imported."""
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    os.environ |= {
        # The argument alone would still look for a key.
        "WANDB_MODE": "offline" if offline else "online",
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_HTTP_TIMEOUT": str(int(_REQUEST_SECONDS)),
    }


def write_offline(search: TrackedSearch, target: Target, ledger: Ledger, folder: Path) -> None:
    """Writes what is new as offline runs, under `wandb/` in the run's folder."""
    place = ledger.place(OFFLINE)
    sweeps = [place.sweep for place in ledger.places.values() if place.sweep]
    sweep = sweeps[0] if len(sweeps) == 1 else None
    for run in _changed(search, place):
        _write_run(run, search, target.entity, target.project, place, sweep=sweep, root=folder)
    ledger.save()


def send(search: TrackedSearch, target: Target, ledger: Ledger, folder: Path, *, page: Path | None = None) -> None:
    """Sends what is new: the sweep, its runs and, once there is a result, the report.

    Args:
        page: `report.html`, which quotes rows of the data; None where nobody asked that it be sent.

    Raises:
        Exception: W&B did not answer, or not as it should. What was sent until then is in the ledger.
    """
    import wandb

    api = wandb.Api(timeout=int(_REQUEST_SECONDS))
    entity = target.entity or api.default_entity
    if not entity:
        raise NotSent("the key belongs to no user or team")
    place = ledger.place(f"{server()} {entity}/{target.project}")
    try:
        _send_sweep(search, entity, target.project, place)
        with tempfile.TemporaryDirectory(prefix="autosft-wandb-") as scratch:
            for run in _changed(search, place):
                _write_run(run, search, entity, target.project, place, sweep=place.sweep, root=Path(scratch))
                ledger.save()
        if search.result is not None and place.report_digest != (found := report_digest(search)):
            _finish_sweep(api, entity, target.project, place)
            place.report, place.url = write_report(search, entity, target.project, report=place.report)
            place.report_digest = found
        if page is not None:
            _send_page(page, search, entity, target.project, place)
        _mark_as_sent(folder, search, place, ledger.place(OFFLINE))
    finally:
        ledger.url = place.url or ledger.url
        ledger.save()


def _changed(search: TrackedSearch, place: Place) -> list[TrackedRun]:
    return [run for run in search.runs if place.digests.get(run.id) != run.digest]


def _send_sweep(search: TrackedSearch, entity: str, project: str, place: Place) -> None:
    """Creates the sweep, once: W&B keeps the configuration that a sweep began with."""
    import wandb

    if place.sweep is not None:
        return
    # Runs that were sent without it join it, too.
    earlier = [run.id for run in search.runs if run.id in place.digests]
    place.sweep = wandb.sweep(dict(search.sweep), entity=entity, project=project, prior_runs=earlier or None)
    place.url = f"{_app_url()}/{entity}/{project}/sweeps/{place.sweep}"


def _app_url() -> str:
    import wandb

    return str(wandb.util.app_url(server())).rstrip("/")


def _finish_sweep(api: Any, entity: str, project: str, place: Place) -> None:
    """Says that no more is to come, as `wandb sweep --stop` does."""
    from wandb.apis.public.sweeps import _set_sweep_state, _sweep_with_runs

    found = _sweep_with_runs(api, place.sweep or "", "{}", entity=entity, project=project)
    if found["state"].upper() in {"RUNNING", "PENDING", "PAUSED"}:
        _set_sweep_state(api, place.sweep or "", "FINISHED", entity=entity, project=project)


def _write_run(
    run: TrackedRun,
    search: TrackedSearch,
    entity: str | None,
    project: str,
    place: Place,
    *,
    sweep: str | None,
    root: Path,
) -> None:
    """Writes one trial as a run, or adds to it what is new since it was written."""
    import wandb

    written = wandb.init(
        entity=entity,
        project=project,
        id=run.id,
        name=run.name,
        group=search.name,
        job_type=run.job_type,
        tags=list(run.tags),
        config=dict(run.config),
        resume="allow",
        reinit="create_new",
        settings=_settings(sweep, root),
    )
    try:
        written.define_metric("score", step_metric="fidelity", summary="none")
        # W&B knows which rows it has, also where we no longer do.
        done = max(place.num_rows.get(run.id, 0), written.starting_step)
        for step, row in enumerate(run.history):
            if step >= done:
                written.log(dict(row), step=step)
        written.summary.update(dict(run.summary))
        written.tags = run.tags
    finally:
        written.finish(exit_code=int(run.has_failed))
    _check_log(root)
    place.digests[run.id], place.num_rows[run.id] = run.digest, len(run.history)


def _send_page(page: Path, search: TrackedSearch, entity: str, project: str, place: Place) -> None:
    """Sends the report's page as a run of its own, in neither group nor sweep: it is no trial."""
    import wandb

    found = hashlib.sha256(page.read_bytes()).hexdigest()
    if place.page_digest == found:
        return
    with tempfile.TemporaryDirectory(prefix="autosft-wandb-") as scratch:
        written = wandb.init(
            entity=entity,
            project=project,
            id=f"{search.id}-page",
            name=f"report of {search.name}",
            job_type="report",
            resume="allow",
            reinit="create_new",
            settings=_settings(None, Path(scratch)),
        )
        try:
            # As it is: what W&B would add is a style of its own.
            written.log({page.name: wandb.Html(str(page), inject=False)})
        finally:
            written.finish()
        _check_log(Path(scratch), file=page.name)
    place.page_digest = found


def _settings(sweep: str | None, root: Path) -> Any:
    """Returns settings under which W&B takes what it is given: no machine, code, console, git or packages."""
    import wandb

    return wandb.Settings(
        sweep_id=sweep,
        root_dir=str(root),
        silent=True,
        console="off",
        host="",
        username="",
        email="",
        program="",
        disable_git=True,
        disable_code=True,
        save_code=False,
        disable_job_creation=True,
        init_timeout=_REQUEST_SECONDS * (1 + _NUM_RETRIES),
        finish_timeout=_FINISH_SECONDS,
        finish_timeout_raises=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        x_graphql_timeout_seconds=_REQUEST_SECONDS,
        x_graphql_retry_max=_NUM_RETRIES,
        x_graphql_retry_wait_max_seconds=_RETRY_SECONDS,
        x_file_stream_timeout_seconds=_REQUEST_SECONDS,
        x_file_stream_retry_max=_NUM_RETRIES,
        x_file_stream_retry_wait_max_seconds=_RETRY_SECONDS,
        x_file_transfer_timeout_seconds=_REQUEST_SECONDS,
        x_file_transfer_retry_max=_NUM_RETRIES,
        x_file_transfer_retry_wait_max_seconds=_RETRY_SECONDS,
    )


def _check_log(root: Path, *, file: str | None = None) -> None:
    """Raises NotSent where the SDK gave up on a run's history, or on a file: it keeps that to its own log."""
    for log in (root / "wandb").glob("run-*/logs/debug-internal.log"):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if "filestream: fatal error" in line:
                raise NotSent("W&B did not take a run's history")
            if file is not None and file in line and "giving up" in line:
                raise NotSent(f"W&B did not take {file}")


def _mark_as_sent(folder: Path, search: TrackedSearch, place: Place, offline: Place) -> None:
    """Leaves the mark by which `wandb sync` passes over offline runs that have been sent from here."""
    for run_id in offline.digests.keys() & place.digests.keys():
        for file in (folder / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"):
            file.with_suffix(".wandb.synced").touch()
