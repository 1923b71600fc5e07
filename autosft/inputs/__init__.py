"""The table of modalities: who reads which input."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from autosft.task import Input

if TYPE_CHECKING:
    from autosft.inputs.base import Reader

READERS: dict[Input, str] = {
    Input.TEXT: "autosft.inputs.text:TextReader",
    Input.TEXT_PAIR: "autosft.inputs.text:TextReader",
    Input.TOKENS: "autosft.inputs.words:WordReader",
    Input.IMAGE: "autosft.inputs.images:ImageReader",
}


def reader_class(input: Input) -> type[Reader]:
    """Returns the reader of an input."""
    module, _, name = READERS[input].partition(":")
    return cast("type[Reader]", getattr(importlib.import_module(module), name))
