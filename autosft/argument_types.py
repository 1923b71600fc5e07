"""What the arguments of the public verbs may be: one table, checked before anything is read.

Columns, labels and numbers that do not fit the data are found where they are used; here only types are looked at.
"""

from __future__ import annotations

import functools
import inspect
import os
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from autosft.budget import Budget
from autosft.errors import AutosftError, PlanError, TaskError, explain
from autosft.planning.plan import Plan
from autosft.task import Metric, Task
from autosft.tracking.base import Tracker

_LONGEST_QUOTE = 60

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Form:
    """What an argument may be.

    Attributes:
        fits: Whether a value is of it. None always is where it is the default.
        words: The same in words.
        example: A value as it is written in Python.
        error: What is raised where it does not fit.
    """

    fits: Callable[[object], bool]
    words: str
    example: str
    error: type[AutosftError] = PlanError


def _is(*types: type) -> Callable[[object], bool]:
    """True and false are whole numbers to Python, and a mistake here."""
    return lambda value: isinstance(value, types) and not isinstance(value, bool)


def _are_names(value: object) -> bool:
    is_list = isinstance(value, Collection) and not isinstance(value, Mapping | bytes)
    return isinstance(value, str) or (is_list and all(isinstance(name, str) for name in value))  # type: ignore[attr-defined]


def _are_some_names(value: object) -> bool:
    return _are_names(value) and len(value) > 0  # type: ignore[arg-type]


def _is_or_is_called(*types: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, types) or (callable(value) and not isinstance(value, type))


def _column(example: str) -> Form:
    return Form(_is(str), "the name of a column, as text", f"'{example}'", TaskError)


PLACE = Form(_is(str, os.PathLike), "a path, as text or a Path", "'runs/spam'")
SENTENCE = Form(_is(str, Task), "a sentence, or a Task", "'Is this message spam?'", TaskError)

FORMS = {
    "task": Form(_is(str, Task, Plan), "a sentence, a Task or a Plan", "'Is this message spam?'", TaskError),
    "target": _column("label"),
    "inputs": Form(_are_names, "names of columns, as a list of texts", "['text']", TaskError),
    "metric": Form(
        _is_or_is_called(str, Metric), "the name of a metric, a Metric or a function", "'macro_f1'", TaskError
    ),
    "group": _column("customer"),
    "time": _column("date"),
    "kind": Form(_is(str), "the name of a kind of task", "'text-classification'", TaskError),
    "answer": Form(_is_or_is_called(str), "a regular expression as text, or a function", "r'#### (.+)'", TaskError),
    "models": Form(_are_some_names, "one or several hub ids or folders, as texts", "['minilm']"),
    "trainer": Form(_are_some_names, "one or several names of trainers, as texts", "'transformers'"),
    "space": Form(
        _is_or_is_called(str, os.PathLike), "a path of YAML, or a function of an Optuna trial", "'next.yaml'"
    ),
    "budget": Form(_is(str, int, float, Budget), "words, a number of seconds or a Budget", "'20m'"),
    "sampler": Form(_is(str), "the name of a sampler", "'tpe'"),
    "scheduler": Form(_is(str), "the name of a scheduler", "'race'"),
    "max_concurrent": Form(_is(int), "a whole number (an int)", "2"),
    "gpus_per_trial": Form(_is(int, float), "a number (an int or a float)", "0.5"),
    "fixes_off": Form(_are_names, "names of checks, as texts, or 'all'", "['near-duplicates']"),
    "tracker": Form(_is(str, Tracker), "the name of a tracker, or a Tracker", "'wandb'"),
    "cluster": Form(_is(str), "a cluster's address, as text", "'auto'"),
    "folder": PLACE,
    "seed": Form(_is(int), "a whole number (an int)", "0"),
    "goal": Form(_is(str), "'maximize' or 'minimize'", "'maximize'"),
}


def arguments_checked(**own: Form) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a public verb check the types of its arguments first; those of no form may be anything.

    Args:
        own: Forms in the place of those of `FORMS`, by argument.
    """
    forms = {**FORMS, **own}

    def decorate(verb: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name, value in signature.bind(*args, **kwargs).arguments.items():
                is_left_out = value is None and signature.parameters[name].default is None
                if name in forms and not is_left_out:
                    _check(name, value, forms[name])
            return verb(*args, **kwargs)

        return checked

    return decorate


def _check(name: str, value: object, form: Form) -> None:
    if form.fits(value):
        return
    shown = " ".join(reprlib.repr(value).split())
    shown = shown if len(shown) <= _LONGEST_QUOTE else f"{shown[:_LONGEST_QUOTE]}..."
    what = "None" if value is None else f"{shown}, of type {type(value).__name__}"
    fix = f"for example {name}={form.example}"
    raise form.error(explain(wrong=f"{name}= is {what}", expected=form.words, fix=fix))
