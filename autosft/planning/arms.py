"""Which arms race: trainers that can do the task, with base models that can be had."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from autosft.base_models import BaseModel, at_hand, candidates, describe, locate
from autosft.errors import BaseModelError, MissingExtraError, PlanError, explain
from autosft.made_models import made_folder
from autosft.planning.plan import Arm, Resources
from autosft.planning.spaces import GivenSpace, given_spaces, space_of
from autosft.search.settings import Machine
from autosft.search.space import SearchSpace
from autosft.search.space_file import find_space
from autosft.task import Input, Output
from autosft.trainers import trainer_class, trainer_names

if TYPE_CHECKING:
    from autosft.trainers.base import Trainer

#: Base models that race by default where the user names none. Transferability scores are too noisy to choose among
#: them (arXiv 2510.06448), and each costs a pass over the data.
_NUM_BASE_MODELS = 2

#: What is named to those who have no decoder: the smallest of the table.
_SMALL_DECODER = "HuggingFaceTB/SmolLM2-135M-Instruct"


def draft_arms(
    input: Input,
    output: Output,
    *,
    num_rows: int,
    models: Sequence[str] | None,
    trainers: Sequence[str] | None,
    space: GivenSpace | None,
    machine: Machine,
    language: str | None = None,
    few_rows_per_class: bool = False,
) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """Chooses trainers and base models; returns the arms and the reasons, unavailable models among them.

    Trainers that join late are left out, unless they are named or no other can do the task.

    Args:
        few_rows_per_class: The fact of that name, by which untuned defaults differ.

    Raises:
        PlanError: No trainer can train this pair of input and output, or a name is unknown.
        BaseModelError: No base model is left.
        MissingExtraError: A trainer that was named, or the last one, lacks a package; it names the extra.
    """
    classes, unusable = _classes(trainers)
    able = {name: found for name, found in classes.items() if (input, output) in found.trains}
    if not able:
        wrong = f"no trainer of {', '.join(classes)} trains {input} to {output}"
        raise PlanError(
            explain(wrong=wrong, expected="a trainer for this task", fix="leave trainer= out to see all of them")
        )
    if not trainers:
        able = {name: found for name, found in able.items() if not found.joins_late} or able
    able, lacking = _equipped(able, named=bool(trainers))
    bases, reasons = _bases(able, input, output, models, machine, language)
    reasons = (*unusable, *lacking, *reasons)
    spaces = {} if space is None else given_spaces(space, list(able))
    arms = []
    shorts = [_short(base.id) for base, _ in bases]
    for name, found in able.items():
        chosen = spaces.get(name) or find_space(name, input, output)
        if chosen is None:
            chosen = SearchSpace(f"none for {name}", name, input, output, ())
            reasons = (*reasons, f"{name} ships no search space for {input} to {output}: only its default is tried")
        for base, folder in bases if found.only_base is None else [_made(found.only_base)]:
            if base.only_trainer not in (None, name):
                continue
            # Folders are often called alike; a name must tell one arm from another.
            short = _short(base.id) if shorts.count(_short(base.id)) == 1 else base.id
            arm_name = f"{name}/{short}" if found.only_base is None else name
            default = asdict(found.default_config(base, num_rows, input, output))
            if few_rows_per_class:
                default |= found.few_rows_default(base, input, output)
            memory = machine.training_memory_bytes
            forced = found.fitting(base, memory) if memory else {}
            if forced:
                listed = ", ".join(f"{field} is {value}" for field, value in forced.items())
                reasons = (*reasons, f"{arm_name}: {listed}, all that {memory / 1e9:.0f} GB of memory hold")
            arm = Arm(arm_name, name, base, folder, {**default, **forced}, chosen, max_length=None)
            arms.append(replace(arm, space=space_of(arm, chosen, memory_bytes=memory)))
    if not arms:
        made = {base.id: base.only_trainer for base, _ in bases}
        listed = ", ".join(f"{model} for {trainer}" for model, trainer in made.items())
        wrong = f"{', '.join(able)} cannot start from any of the models: {listed}"
        fix = "leave trainer= or models= out, or name another one"
        raise PlanError(explain(wrong=wrong, expected="a trainer that a model is made for", fix=fix))
    return tuple(arms), reasons


def latecomers(input: Input, output: Output) -> list[str]:
    """Returns the names of the trainers that join late for this pair, and whose packages are here."""
    found = []
    for name, trainer in _classes(None)[0].items():
        if trainer.joins_late and (input, output) in trainer.trains:
            with contextlib.suppress(MissingExtraError):
                trainer.require()
                found.append(name)
    return found


def that_fit(
    arms: Sequence[Arm],
    resources: Resources,
    *,
    fix: str = "name smaller ones with models=, or run where there is more memory",
) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """Leaves out arms that no node, of those that hold a trial, has the memory to train; says why.

    Args:
        fix: What to do where none is left.

    Raises:
        PlanError: None is left.
    """
    machine, gpus = resources.machine, resources.gpus_per_trial
    needed = {arm.name: arm.least_memory_bytes(arm.default) for arm in arms}
    fitting = tuple(arm for arm in arms if resources.can_train(arm, arm.default))
    most = max((node.gpu_memory_bytes if gpus else node.memory_bytes for node in resources.able), default=0)
    whose = "a GPU" if gpus else "a node" if machine.nodes else "this machine"
    reasons = [
        f"{arm.name} is left out: training it takes at least {needed[arm.name] / 1e9:.1f} GB of memory, and {whose} "
        f"has {'at most ' if machine.nodes else ''}{most / 1e9:.1f} GB"
        for arm in arms
        if arm not in fitting
    ]
    if not fitting:
        wrong = "; ".join(reasons)
        raise PlanError(explain(wrong=wrong, expected="a model whose training fits in memory", fix=fix))
    return fitting, tuple(reasons)


def _classes(named: Sequence[str] | None) -> tuple[dict[str, type[Trainer]], tuple[str, ...]]:
    """Imports the trainers that were named, else all that race by default; leaves out plugins that cannot be imported.

    Raises:
        PlanError: One that was named is unknown, or cannot be imported.
    """
    if named:
        return {name: trainer_class(name) for name in named}, ()
    found, unusable = {}, []
    for name in trainer_names():
        try:
            found[name] = trainer_class(name)
        except PlanError as error:
            unusable.append(f"{name} is left out: {str(error).splitlines()[0]}")
    return found, tuple(unusable)


def _equipped(able: dict[str, type[Trainer]], *, named: bool) -> tuple[dict[str, type[Trainer]], tuple[str, ...]]:
    """Leaves out trainers whose packages are not here, with the reason, as long as another one is left."""
    found, errors = {}, {}
    for name, trainer in able.items():
        try:
            trainer.require()
            found[name] = trainer
        except MissingExtraError as error:
            errors[name] = error
    if errors and (named or not found):
        raise next(iter(errors.values()))
    return found, tuple(f"{name} is left out: {str(error).splitlines()[0]}" for name, error in errors.items())


def _bases(
    able: Mapping[str, type[Trainer]],
    input: Input,
    output: Output,
    models: Sequence[str] | None,
    machine: Machine,
    language: str | None,
) -> tuple[list[tuple[BaseModel, str]], tuple[str, ...]]:
    """Locates base models where a trainer takes one; those that take none go on alone where none can be had.

    Raises:
        BaseModelError: None can be had, and all trainers take one or models were named.
    """
    alone = " and ".join(name for name, trainer in able.items() if trainer.only_base is not None)
    if all(trainer.only_base is not None for trainer in able.values()):
        return [], ((f"{alone} takes no base model, so models= says nothing here",) if models else ())
    try:
        return _base_models(input, output, models, machine, language)
    except BaseModelError as error:
        if models or not alone:
            raise
        lack = str(error).partition("\n")[0].rstrip(".")
        return [], (
            f"{lack}: {alone} learns from these rows alone, where a pretrained model would likely do better (install "
            "autosft[demo] for a small one, or pass models=['/path/to/a/model'])",
        )


def _made(base: BaseModel) -> tuple[BaseModel, str]:
    return base, str(made_folder(base.id))


def _base_models(
    input: Input, output: Output, models: Sequence[str] | None, machine: Machine, language: str | None
) -> tuple[list[tuple[BaseModel, str]], tuple[str, ...]]:
    """Locates base models; one that cannot be had is left out with a reason, as long as another is there."""
    reasons: list[str] = []
    if models:
        wanted = list(models)
    else:
        memory = machine.gpu_memory_bytes if machine.gpus else None
        rows = candidates(input, output, language=language, device_memory_bytes=memory)
        if not rows:
            rows = candidates(input, output, device_memory_bytes=memory)
            if language not in (None, "und"):
                names = f"the text looks like '{language}', and no base model for it is on this machine"
                reasons.append(f"{names}: the ones at hand read English")
        wanted = [row.id for row in rows if row.pretrained][: 2 * _NUM_BASE_MODELS]
        # Where none of these can be had, what is made on this machine is better than nothing.
        wanted += [row.id for row in rows if not row.pretrained]
    found: list[tuple[BaseModel, str]] = []
    errors: list[BaseModelError] = []
    for name in wanted:
        if not models and len(found) == _NUM_BASE_MODELS:
            break
        try:
            folder = str(locate(name))
            base = describe(name)
            if output is Output.TEXT and not base.generates:
                raise BaseModelError(_writes_nothing(name))
            if input not in base.inputs:
                raise BaseModelError(_reads_other(name, base, input))
            if folder not in [place for _, place in found]:
                found.append((base, folder))
        except BaseModelError as error:
            errors.append(error)
            reasons.append(f"{name} is left out: {str(error).splitlines()[0]}")
    if not found:
        if errors:
            raise errors[0]
        wrong = "no base model is on this machine, and the hub cannot be asked"
        here = ", ".join(at_hand()) or "none"
        expected = f"a model for {input} (at hand: {here})"
        fix = "install autosft[demo] for a small one, pass models=['/path/to/a/model'], or unset HF_HUB_OFFLINE"
        if output is Output.TEXT:
            wrong = (
                f"the task was read as {input} to a text that is written, and no base model that writes text is on "
                "this machine, and the hub cannot be asked"
            )
            expected = f"a causal language model, which no package brings (at hand: {here})"
            fix = (
                "where no text is to be written, name the label or number to predict with target='...', or the kind "
                "with kind='...'; where one is, "
                f"name its folder with models=['/path/to/a/model'], run `hf download {_SMALL_DECODER}` where there is "
                f"a network, copy it here and name it, or unset HF_HUB_OFFLINE and pass models='{_SMALL_DECODER}'"
            )
        raise BaseModelError(explain(wrong=wrong, expected=expected, fix=fix))
    made = [base.id for base, _ in found if not base.pretrained]
    if made and not models:
        lack = "no pretrained model" if len(made) == len(found) else "only one pretrained model"
        reasons.append(
            f"{lack} for {input} is at hand, so {' and '.join(made)} will know these rows alone: a pretrained one, "
            "given with models=['/path/to/a/model'] or fetched from the hub, would do better"
        )
    return found, tuple(reasons)


def _reads_other(name: str, base: BaseModel, input: Input) -> str:
    return explain(
        wrong=f"the base model {name} reads {' and '.join(base.inputs)}, and the rows here are {input}",
        expected=f"a model that reads {input}",
        fix="name one with models=, or leave models= out",
    )


def _writes_nothing(name: str) -> str:
    return explain(
        wrong=f"the base model {name} writes no text",
        expected="a decoder, whose config.json names an architecture that ends in ForCausalLM",
        fix=f"name one with models=, such as {_SMALL_DECODER}, or leave models= out",
    )


def _short(model_id: str) -> str:
    return model_id.rstrip("/").rpartition("/")[2]
