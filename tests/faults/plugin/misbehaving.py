"""A package of somebody else's: a trainer that is found by its entry point, and that does as a folder's files say."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from autosft.arrays import from_matrix
from autosft.trainers.base import FittedModel
from autosft.trainers.frozen_head import FrozenHead

#: Of each file here one training is told what to do, in the order of their names.
ORDERS = "MISBEHAVING_ORDERS"


class Misbehaving(FrozenHead):
    name = "misbehaving"

    def fit(self, *args: Any, report: Any, **named: Any) -> FittedModel:
        order = next_order()
        if order == "raise":
            raise ZeroDivisionError("in a trainer of somebody else's")
        if order == "sys.exit":
            sys.exit(3)
        if order == "os._exit":
            os._exit(0)
        if order == "hang":
            time.sleep(3600)
        if order == "print":
            for at in range(20_000):
                print(f"line {at} of too many")
                print(f"line {at} of too many", file=sys.stderr)
        if order == "nan":
            wrong = report

            def report(fidelity: float, outputs: pa.Array) -> None:
                wrong(fidelity, from_matrix(np.full((len(outputs), 3), np.nan, np.float32)))

        if order == "words":
            return "not a model"  # type: ignore[return-value]
        if order == "MemoryError":
            np.ones(1 << 50)
        if order == "torch":
            torch.empty(1 << 50)
        if order == "OutOfMemoryError":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().fit(*args, report=report, **named)


def next_order() -> str:
    for file in sorted(Path(os.environ[ORDERS]).iterdir()):
        order = file.read_text()
        try:
            file.unlink()
        except FileNotFoundError:
            continue
        return order
    return ""
