"""A stand-in for W&B's server on the loopback, for the real SDK: it keeps runs, sweeps and reports in memory.

It answers what the SDK asks on the way of `init`, `log`, `finish`, `sweep` and a report's `save`, and nothing else. A
`trouble` makes it down in one of the ways in which servers are.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

ENTITY = "team"
#: Longer than any test waits.
HANGS_SECONDS = 60.0


@dataclass
class StoredRun:
    """A run as the server has it."""

    id: str
    variables: dict[str, Any] = field(default_factory=dict)
    num_upserts: int = 0
    sweep: str | None = None
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    num_rows_received: int = 0
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        return {key: row["value"] for key, row in json.loads(self.variables["config"]).items()}


class WandbServer:
    """The server, on a port of its own until it is closed.

    Attributes:
        trouble: None, "slow" (it hangs), "garbage", "unauthorized", "failing" (500), or "history" or "upload" (of
            which that alone fails).
        runs: By id. sweeps: By name, each with its config, state and display name. reports: By id.
        requests: Operation or path of each request, in order.
    """

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.runs: dict[str, StoredRun] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def environment(self) -> dict[str, str]:
        """Returns what points the SDK to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "k" * 40, "WANDB_MODE": "online"}

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Returns status and content for a request."""
        request = json.loads(body) if body[:1] == b"{" else {}
        operation = _operation(request) if path == "/graphql" else path
        with self._lock:
            self.requests.append(operation)
            self.bodies.append(body)
        if self.trouble == "slow":
            self._closing.wait(HANGS_SECONDS)
        if self.trouble == "garbage":
            return 200, b"<html>maintenance</html>"
        if self.trouble == "unauthorized":
            return 401, b'{"errors": [{"message": "invalid key"}]}'
        fails_alone = {"history": "/file_stream", "upload": "/upload"}.get(self.trouble or "")
        if self.trouble == "failing" or (fails_alone and path.endswith(fails_alone)):
            return 500, b"{}"
        with self._lock:
            if path == "/graphql":
                found = getattr(self, f"_{operation}", None)
                if found is None:
                    return 400, json.dumps({"errors": [{"message": f"unknown: {operation}"}]}).encode()
                return 200, json.dumps({"data": found(request.get("variables") or {})}).encode()
            if path.endswith("/file_stream"):
                self._stream(path.split("/")[-2], request)
        return 200, b"{}"

    def _stream(self, run_id: str, request: dict[str, Any]) -> None:
        run = self.runs[run_id]
        for name, chunk in request.get("files", {}).items():
            rows = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                run.num_rows_received += len(rows)
                run.history |= {row["_step"]: row for row in rows}
            elif name == "wandb-summary.json":
                run.summary = rows[-1]
        if request.get("complete"):
            run.exit_code = request["exitcode"]

    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "u1", "username": "user", "entity": ENTITY, "email": "", "flags": "{}", "admin": False}
        viewer |= {"teams": {"edges": [{"node": {"name": ENTITY}}]}, "capabilities": [], "name": "user"}
        return {"viewer": viewer, "serverInfo": None}

    def _resume(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        if run is None:
            return {"model": {"id": "p1", "name": variables["project"], "entity": {"name": ENTITY}, "bucket": None}}
        # The SDK takes a run to be there by what it says about itself in its config.
        about = json.loads(run.variables["config"])["_wandb"]["value"]
        bucket = {
            "id": run.id, "name": run.id, "historyLineCount": len(run.history), "eventsLineCount": 0, "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in [*run.history.values()][-1:]]), "eventsTail": "[]",
            "summaryMetrics": json.dumps(run.summary), "config": run.variables["config"],
            "wandbConfig": json.dumps({"t": about["t"]}),
            "tags": run.variables.get("tags"), "displayName": run.variables.get("displayName"),
        }  # fmt: skip
        return {"model": {"id": "p1", "name": variables["project"], "entity": {"name": ENTITY}, "bucket": bucket}}

    def _upsert_run(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], StoredRun(variables["name"]))
        run.variables |= {key: value for key, value in variables.items() if value is not None}
        run.num_upserts += 1
        run.sweep = variables.get("sweep") or run.sweep
        bucket = {
            "id": run.id, "name": run.id, "displayName": run.variables.get("displayName"), "description": None,
            "config": run.variables.get("config"), "sweepName": run.sweep, "historyLineCount": len(run.history),
            "project": self._project(run.variables.get("project")),
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": run.num_upserts == 1}}

    def _files(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _sweep(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables.get("id") or f"sweep{len(self.sweeps)}"
        sweep = self.sweeps.setdefault(name, {"state": "PENDING"})
        if variables.get("config"):
            sweep |= {"config": yaml.safe_load(variables["config"]), "prior": variables.get("priorRunsFilters")}
        sweep["state"] = variables.get("state") or sweep["state"]
        found = {"name": name, "project": self._project(variables.get("projectName"))}
        return {"upsertSweep": {"sweep": found, "configValidationWarnings": []}}

    def _sweep_state(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["sweep"]
        sweep = {"id": name, "name": name, "state": self.sweeps[name]["state"], "method": "custom", "config": "{}"}
        sweep |= {"runs": {"edges": []}, "heartbeatAt": None, "description": None, "controller": None}
        return {"project": {"sweep": sweep | {"scheduler": None, "createdAt": None, "bestLoss": None}}}

    def _projects(self, variables: dict[str, Any]) -> dict[str, Any]:
        node = self._project("spam") | {
            "entityName": ENTITY,
            "createdAt": "2026-01-01T00:00:00",
            "isBenchmark": False,
            "user": None,
        }
        page = {"edges": [{"node": node, "cursor": "c"}], "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"models": page}

    def _new_project(self, variables: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "p1", "name": variables["input"]["name"], "entityName": ENTITY, "description": None}
        project |= {"access": "PRIVATE", "views": None}
        return {"result": {"project": project, "model": project, "inserted": True}}

    def _project_id(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "p1", "internalId": "UHJvamVjdDox"}}

    def _report(self, variables: dict[str, Any]) -> dict[str, Any]:
        view_id = variables.get("id") or f"report{len(self.reports)}"
        self.reports[view_id] = variables | {"spec": json.loads(variables["spec"])}
        project = {"id": "p1", "name": variables["projectName"], "entityName": variables["entityName"]}
        view = {"id": view_id, "type": "runs", "name": variables["name"], "displayName": variables["displayName"]}
        view |= {"description": variables["description"], "project": project, "spec": variables["spec"]}
        return {"upsertView": {"view": view | {"updatedAt": "2026-01-01T00:00:00"}, "inserted": True}}

    @staticmethod
    def _project(name: str | None) -> dict[str, Any]:
        return {"id": "p1", "name": name or "spam", "entity": {"id": "e1", "name": ENTITY}}


#: What stands in a query, and who answers it; the first that fits.
_OPERATIONS = {
    "upsertBucket": "upsert_run", "createRunFiles": "files", "upsertSweep": "sweep", "upsertView": "report",
    "historyTail": "resume", "internalId": "project_id", "sweep(sweepName": "sweep_state", "models(": "projects",
    "upsertModel": "new_project",
    "viewer": "viewer",
}  # fmt: skip


def _operation(request: dict[str, Any]) -> str:
    query = request.get("query", "")
    known = (name for words, name in _OPERATIONS.items() if words in query)
    return next(known, " ".join(query.split())[:300])


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            status, content = server.answer(self.path, body)
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # Who asked has given up.
                pass

        do_GET = do_PUT = do_POST

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


if __name__ == "__main__":
    stub = WandbServer()
    print(stub.url, flush=True)
    while True:
        time.sleep(60)
