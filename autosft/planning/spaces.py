"""Which search space each arm draws from: the user's own, in one file or several, or the one that is shipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autosft.augment import augmentation
from autosft.errors import PlanError, explain
from autosft.planning.plan import Arm, Plan
from autosft.search.space import FunctionSpace, SearchSpace, Space
from autosft.search.space_file import read_space
from autosft.trainers import trainer_class

#: What a user may pass: a YAML file, a folder of them, or a function of an Optuna trial.
GivenSpace = str | os.PathLike[str] | Callable[[Any], dict[str, object]]


def given_spaces(given: GivenSpace, trainers: Sequence[str]) -> dict[str, Space]:
    """Returns the user's own spaces by trainer.

    Args:
        given: See `GivenSpace`. Every file of a folder names the trainer that it is for.
        trainers: Those that race.

    Raises:
        PlanError: A file cannot be read, is for a trainer that does not race, or for one that has a file already; a
            function stands for several trainers; a folder holds no file.
    """
    if callable(given):
        if len(trainers) > 1:
            wrong = "a search space that is a function, for several trainers"
            raise PlanError(explain(wrong=wrong, expected="one trainer", fix="pass trainer='transformers' too"))
        return {trainers[0]: FunctionSpace(given)}
    found: dict[str, Space] = {}
    for file in _files(Path(given)):
        space = read_space(file)
        if space.trainer in found:
            wrong = f"{file} is a second search space for {space.trainer}"
            raise PlanError(explain(wrong=wrong, expected="one file a trainer", fix="remove one of the two"))
        if space.trainer not in trainers:
            wrong = f"the search space {file} is for {space.trainer}, which does not race here"
            expected = f"a space for {' or '.join(trainers)}"
            fix = f"pass trainer='{space.trainer}', or leave this file out"
            raise PlanError(explain(wrong=wrong, expected=expected, fix=fix))
        _check_augmentations(space)
        found[space.trainer] = space
    return found


def _check_augmentations(space: SearchSpace) -> None:
    """Raises PlanError where a space names an augmentation that is not one for its inputs and outputs."""
    named = {value for parameter in space.parameters if parameter.name == "augmentation" for value in parameter.values}
    for name in sorted(named - {"none"}, key=str):
        augmentation(str(name), space.input, space.output)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
    if not files:
        wrong = f"the folder {path} holds no search space"
        raise PlanError(explain(wrong=wrong, expected="YAML files, one a trainer", fix="name another folder or a file"))
    return files


def space_of(arm: Arm, space: Space, *, memory_bytes: int) -> Space:
    """Returns a space as an arm draws from it: what its base model or memory leaves no choice in is fixed.

    Raises:
        PlanError: A parameter is no field of the trainer's Config.
    """
    trainer = trainer_class(arm.trainer)
    space.check(trainer.Config)
    forced = trainer.fitting(arm.base_model, memory_bytes) if memory_bytes else {}
    return space.pinned({**trainer.settled(arm.base_model), **forced}) if isinstance(space, SearchSpace) else space


def with_space(plan: Plan, given: GivenSpace) -> Plan:
    """Returns a plan that goes on with another search space; arms whose trainer it says nothing of keep theirs.

    Raises:
        PlanError: As in `given_spaces`, or a parameter is no field of a trainer's Config.
    """
    spaces: Mapping[str, Space] = given_spaces(given, list(dict.fromkeys(arm.trainer for arm in plan.arms)))
    memory = plan.resources.machine.training_memory_bytes
    arms = [
        replace(arm, space=space_of(arm, spaces[arm.trainer], memory_bytes=memory)) if arm.trainer in spaces else arm
        for arm in plan.arms
    ]
    return replace(plan, arms=tuple(arms))
