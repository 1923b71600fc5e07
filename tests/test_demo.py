"""The demo's data: enough real rows of every family, clean, and the same each time."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from autosft.demo import FAMILIES, docstrings
from autosft.errors import DataError


def test_docstrings_make_a_data_set_worth_learning_from() -> None:
    start = time.process_time()
    table = docstrings()
    assert time.process_time() - start < 10
    texts = table["text"].to_pylist()
    assert 2000 <= len(texts) <= 20_000
    assert len({text.casefold() for text in texts}) == len(texts)
    assert all(20 <= len(text) <= 300 and text == " ".join(text.split()) for text in texts)
    counts = Counter(table["module_family"].to_pylist())
    assert set(counts) == set(FAMILIES)
    assert min(counts.values()) >= 30
    assert docstrings().equals(table)


def test_no_module_stands_in_two_families() -> None:
    modules = [module for family in FAMILIES.values() for module in family]
    assert len(modules) == len(set(modules))


def test_a_python_without_sources_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="no docstrings were found"):
        docstrings()
