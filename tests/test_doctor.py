"""The doctor names what would stop a run, on a machine that the test breaks on purpose."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from autosft.doctor import Check, Status, cgroup_cpus, checks


def check(name: str) -> Check:
    return next(check for check in checks() if check.name == name)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Importing Ray takes seconds and is looked at once, below."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("")
    (tmp_path / "ray" / "tune.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


def test_this_machine_is_able() -> None:
    found = checks()
    names = {"Python", "torchvision", "CPU", "memory", "disk, here", "Ray", "Ray cluster", "W&B", "model hub"}
    assert names <= {c.name for c in found}
    # Disk and memory are the machine's own affair; what the tests themselves need must be in order.
    assert [c for c in found if c.name in {"Python", "torch", "Ray"} and c.status is Status.PROBLEM] == []
    assert all(c.message and (c.fix or c.status is Status.OK) for c in found)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("RuntimeError('operator torchvision::nms does not exist')", "built for another torch"),
        ("ImportError('libfoo.so: no such file')", "libfoo.so"),
    ],
)
def test_a_broken_torchvision_is_recognised(
    error: str, said: str, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision.py").write_text(f"raise {error}")
    information = tmp_path / "torchvision-0.99.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.99\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = check("torchvision")
    assert found.status is Status.PROBLEM
    assert said in found.message
    assert "pip uninstall torchvision" in found.fix


def test_a_ray_that_cannot_be_imported_is_a_problem(quick: None, tmp_path: Path) -> None:
    (tmp_path / "ray" / "tune.py").write_text("raise ImportError('no pyarrow')")
    found = check("Ray")
    assert found.status is Status.PROBLEM
    assert "no pyarrow" in found.message


def test_the_address_of_a_dead_cluster_is_found(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert check("Ray cluster").status is Status.OK
    found = check("Ray cluster")
    assert found.status is Status.WARNING
    assert address in found.message


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_container_limit_is_read(files: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_cpus(tmp_path) == expected


def test_a_key_for_another_server_is_not_taken_for_ours(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password " + "x" * 40)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert check("W&B").status is Status.WARNING
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert check("W&B").status is Status.OK


@pytest.mark.parametrize(("has_bf16", "said"), [(True, "trained in bfloat16"), (False, "trained in float32")])
def test_the_precision_of_trainings_on_the_cpu_is_told(
    has_bf16: bool, said: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    assert said in check("GPUs").message
