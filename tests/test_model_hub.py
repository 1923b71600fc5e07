"""Downloading from a hub: a small one that the test serves, since the real one may be out of reach."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autosft.model_hub import cache_folder

REVISION = "a" * 40
HEADER = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
FILES = {
    "config.json": b'{"model_type": "bert", "max_position_embeddings": 64}',
    "model.safetensors": struct.pack("<Q", len(HEADER)) + HEADER + bytes(4),
    "vocab.txt": b"hello",
    "1_Pooling/config.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "modeling.py": b"raise SystemExit",
    "onnx/config.json": b"{}",
}


class Hub(BaseHTTPRequestHandler):
    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        if "/owner/gated" in self.path:
            self.answer(403, X_Error_Code="GatedRepo")
        elif "/owner/open" not in self.path:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif "/api/models/" in self.path and "/tree/" in self.path:
            rows = [{"type": "file", "path": name, "size": len(body), "oid": "0"} for name, body in FILES.items()]
            self.answer(200, json.dumps(rows).encode(), Content_Type="application/json")
        elif "/api/models/" in self.path:
            siblings = [{"rfilename": name} for name in FILES]
            body = json.dumps({"id": "owner/open", "sha": REVISION, "siblings": siblings}).encode()
            self.answer(200, body, Content_Type="application/json")
        else:
            body = FILES[self.path.partition(f"/resolve/{REVISION}/")[2]]
            self.answer(200, body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', X_Repo_Commit=REVISION)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def locate_elsewhere(model_id: str, cache: Path, endpoint: str) -> str:
    """Calls `locate` in a fresh interpreter, since huggingface_hub reads the environment once."""
    code = (
        "import sys; from autosft.base_models import locate; from autosft.errors import BaseModelError\n"
        "try: print(locate(sys.argv[1]))\n"
        "except BaseModelError as error: print(error)"
    )
    environment = {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", code, model_id],
        capture_output=True, text=True, env=os.environ | environment | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_files_that_run_no_code_are_fetched(endpoint: str, tmp_path: Path) -> None:
    folder = Path(locate_elsewhere("owner/open", tmp_path, endpoint))
    fetched = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert fetched == {"config.json", "model.safetensors", "vocab.txt", "1_Pooling/config.json"}
    assert locate_elsewhere("owner/open", tmp_path, "http://127.0.0.1:9") == str(folder)


@pytest.mark.parametrize(
    ("model_id", "said"),
    [
        ("owner/gated", "accept its terms"),
        ("FacebookAI/roberta-bas", "did you mean 'FacebookAI/roberta-base'"),
        ("owner/nothing", "no base model 'owner/nothing'"),
    ],
)
def test_what_the_hub_refuses_says_what_to_do(model_id: str, said: str, endpoint: str, tmp_path: Path) -> None:
    assert said in locate_elsewhere(model_id, tmp_path, endpoint)


def test_a_hub_out_of_reach_is_named(tmp_path: Path) -> None:
    assert "cannot be downloaded" in locate_elsewhere("owner/open", tmp_path, "http://127.0.0.1:9")


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
