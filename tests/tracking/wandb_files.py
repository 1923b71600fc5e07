"""Reads a `.wandb` file back: seven bytes of header, then `wandb_internal_pb2.Record`s in LevelDB's log format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER_BYTES, BLOCK_BYTES, CHUNK_HEADER_BYTES = 7, 32 * 1024, 7
FULL, LAST = 1, 4


@dataclass
class WandbFile:
    """What one run's file says, with its own record types folded into what a person sees of them."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None


def payloads(path: Path) -> Iterator[bytes]:
    """Yields the records' bytes: chunks never cross a block, and a record may take several."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    at, parts = HEADER_BYTES, []
    while at + CHUNK_HEADER_BYTES <= len(content):
        if BLOCK_BYTES - at % BLOCK_BYTES < CHUNK_HEADER_BYTES:
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts.append(content[at + CHUNK_HEADER_BYTES : at + CHUNK_HEADER_BYTES + length])
        at += CHUNK_HEADER_BYTES + length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []


def read(path: Path) -> WandbFile:
    from wandb.proto import wandb_internal_pb2

    found = WandbFile()
    for payload in payloads(path):
        record = wandb_internal_pb2.Record.FromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run, found.tags = record.run, [*record.run.tags]
            found.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            found.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            found.history.append(_values(record.history.item))
        elif kind == "summary":
            found.summary |= _values(record.summary.update)
        elif kind == "metric":
            found.metrics[record.metric.name] = record.metric.step_metric
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
