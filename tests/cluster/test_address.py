"""Which cluster is meant and whether it may be joined: what is in the way is said within seconds."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosft.cluster import address as addresses
from autosft.cluster.address import check_reachable, check_versions, resolve
from autosft.cluster.connect import connect
from autosft.errors import PlanError


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        ("local", None),
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        (" head:7000 ", "head:7000"),
        ("head", "head:6379"),
        ("[::1]:6379", "[::1]:6379"),
    ],
)
def test_the_forms_of_an_address(given: str | None, found: str | None) -> None:
    assert resolve(given) == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("head:port", "no address of a cluster"),
        ("head:99999", "no address of a cluster"),
        (":6379", "no address of a cluster"),
        ("ray://head:10001", "Ray Client"),
        ("http://head:8265", "http server"),
    ],
)
def test_other_addresses_are_explained(given: str, said: str) -> None:
    with pytest.raises(PlanError, match=said) as raised:
        resolve(given)
    assert "To fix:" in str(raised.value)


def test_auto_takes_the_environment_s_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:7000")
    assert resolve("auto") == "head:7000"
    assert resolve("local") is None


@pytest.fixture
def listening() -> Iterator[str]:
    """Something that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def web() -> Iterator[str]:
    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("what", ["nothing", "listening", "web"])
def test_what_is_no_cluster_is_said_within_seconds(
    what: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "ANSWER_SECONDS", 2.0)
    place = "127.0.0.1:1" if what == "nothing" else request.getfixturevalue(what)
    started = time.monotonic()
    with pytest.raises(PlanError, match=place) as raised:
        check_reachable(place)
    assert ("it is no Ray" in str(raised.value)) == (what != "nothing")
    assert time.monotonic() - started < 5


def test_versions_that_differ_are_named_with_their_place() -> None:
    here = {"python": "3.11.7", "ray": "2.60.0", "autosft": "0.1.0"}
    check_versions(here, {"python": "3.11.2", "ray": "2.60.0", "autosft": "0.1.0"}, "the head")
    with pytest.raises(PlanError) as raised:
        check_versions(here, {"python": "3.12.1", "ray": "2.59.0", "autosft": None}, "the node 10.0.0.2")
    for said in ("the node 10.0.0.2 runs python 3.12.1, and 3.11.7 is here", "ray 2.59.0", "has no autosft"):
        assert said in str(raised.value)


def test_a_ray_that_runs_in_this_process_is_taken_and_another_one_is_not(ray_session: None) -> None:
    import ray

    own = ray.get_runtime_context().gcs_address
    for given in (None, "local", "auto", own, f"127.0.0.1:{own.rpartition(':')[2]}"):
        assert connect(given, machine=None, verbose=False) is False
    with pytest.raises(PlanError, match="connected to the Ray at"):
        connect("127.0.0.1:1", machine=None, verbose=False)


ASKS = """
import os, sys, time
from autosft.cluster.address import check_reachable
from autosft.errors import PlanError
started = time.monotonic()
try:
    check_reachable(sys.argv[1])
    print("in")
except PlanError as error:
    print(error)
print(time.monotonic() - started, os.environ.get("RAY_AUTH_MODE"))
"""


@pytest.mark.parametrize(
    ("token", "mode", "said"),
    [
        ("own", None, "in\n"),
        ("none", None, "asks for a token, and there is none: the file ~/.ray/auth_token holds nothing"),
        ("none", "token", "asks for a token, and there is none"),
        ("wrong", None, "refuses the token in the environment variable RAY_AUTH_TOKEN"),
        ("missing file", None, "which RAY_AUTH_TOKEN_PATH names holds nothing"),
        ("own", "disabled", "RAY_AUTH_MODE=disabled sends none"),
    ],
)
def test_who_has_no_token_hears_at_once_what_is_missing(
    token: str, mode: str | None, said: str, ray_session: None, tmp_path: Path
) -> None:
    import ray

    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    if token != "own":
        environment["HOME"] = str(tmp_path)
    if token == "wrong":
        environment["RAY_AUTH_TOKEN"] = "f" * 32
    if token == "missing file":
        environment["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "no-token")
    if mode is not None:
        environment["RAY_AUTH_MODE"] = mode
    done = subprocess.run(
        [sys.executable, "-c", ASKS, ray.get_runtime_context().gcs_address], env=environment, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    assert said in done.stdout
    *_, last = done.stdout.splitlines()
    assert float(last.split()[0]) < 5
    # Whoever is let in goes on with the token; nobody else sends one.
    assert last.split()[1] == ("token" if said == "in\n" or mode == "token" or token == "wrong" else mode or "None")
    assert "f" * 32 not in done.stdout + done.stderr
