"""What W&B's public API answers when it is asked for a sweep: a GraphQL server on the loopback, for the real SDK."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY, PROJECT, KEY = "lab", "digits", "0" * 40


class Api:
    """Sweeps and runs of one project.

    Attributes:
        sweeps: A sweep's configuration as YAML or JSON, by name.
        runs: Nodes of runs; `run` makes one.
        pages: How many pages of runs were asked for.
    """

    def __init__(self, sweeps: Mapping[str, str], runs: Sequence[Mapping[str, Any]]) -> None:
        self.sweeps, self.runs, self.pages = sweeps, runs, 0

    def answer(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        if "sweep(sweepName" in query:
            return {"project": {"sweep": self._sweep(str(variables["name"]))}}
        if "runs(filters" in query:
            return {"project": self._page(variables) if variables["project"] == PROJECT else None}
        viewer = {"id": "u", "entity": ENTITY, "username": "me", "name": "me", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer, "serverInfo": {"features": []}}

    def _sweep(self, name: str) -> dict[str, Any] | None:
        if name not in self.sweeps:
            return None
        return {
            "__typename": "Sweep", "id": name, "name": name, "displayName": name, "state": "FINISHED",
            "method": "random", "description": None, "bestLoss": None, "config": self.sweeps[name], "updatedAt": None,
            "createdAt": "2026-01-01T00:00:00", "runCount": 1, "runCountExpected": None,
        }  # fmt: skip

    def _page(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        self.pages += 1
        wanted = json.loads(variables.get("filters") or "{}")
        wanted = {key: value for row in wanted.get("$and", [wanted]) for key, value in row.items()}
        runs = [
            run for run in self.runs
            if wanted.get("sweep") in (None, run["sweepName"]) and wanted.get("group") in (None, run["group"])
        ]  # fmt: skip
        begin = int(variables.get("cursor") or 0)
        end = begin + min(int(variables.get("perPage") or 50), 25)  # Two pages, of what would fit in one.
        edges = [{"node": {"projectId": "7", **run}, "cursor": str(begin + at + 1)}
                 for at, run in enumerate(runs[begin:end])]  # fmt: skip
        more = {"endCursor": str(end), "hasNextPage": end < len(runs)}
        return {"internalId": "7", "runCount": len(runs), "readOnly": False, "runs": {"edges": edges, "pageInfo": more}}


def run(name: str, config: Mapping[str, Any], summary: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Returns the node of a run; W&B wraps every value of a config."""
    return {
        "id": f"id-{name}", "tags": [], "name": name, "displayName": name, "sweepName": None, "state": "finished",
        "config": json.dumps({key: {"value": value, "desc": None} for key, value in config.items()}), "group": None,
        "jobType": None, "commit": None, "readOnly": False, "createdAt": "2026-01-01T00:00:00Z", "heartbeatAt": None,
        "description": None, "notes": None, "systemMetrics": "{}", "summaryMetrics": json.dumps(dict(summary)),
        "historyLineCount": 1, "user": {"name": "me", "username": "me"}, "historyKeys": None, **given,
    }  # fmt: skip


@contextmanager
def served(api: Api) -> Iterator[str]:
    """Serves an Api on the loopback; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/graphql":  # The SDK's own telemetry.
                return self._send({})
            asked = json.loads(body)
            self._send({"data": api.answer(asked["query"], asked.get("variables") or {})})

        def do_GET(self) -> None:
            self._send({})

        def _send(self, value: Any) -> None:
            text = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
