"""How a question is to be answered: the arguments of `fit` that are about the search and where it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from autosft.budget import Budget
from autosft.cluster.address import check_form
from autosft.errors import PlanError, explain
from autosft.planning.spaces import GivenSpace
from autosft.search.sampler import check_sampler
from autosft.search.settings import check_scheduler


@dataclass(frozen=True)
class Options:
    """How a question is to be answered, as given to `fit`. Fields are `fit`'s arguments of the same name."""

    budget: Budget
    models: Sequence[str] | None = None
    trainer: str | Sequence[str] | None = None
    space: GivenSpace | None = None
    sampler: str = "tpe"
    scheduler: str = "race"
    max_concurrent: int | None = None
    gpus_per_trial: float | None = None
    cluster: str | None = None
    timing: bool = True
    verbose: bool = False

    @staticmethod
    def checked(
        models: Sequence[str] | str | None,
        trainer: str | Sequence[str] | None,
        space: GivenSpace | None,
        budget: str | float | Budget,
        sampler: str,
        scheduler: str,
        max_concurrent: int | None,
        gpus_per_trial: float | None,
        cluster: str | None,
        verbose: bool,
    ) -> Options:
        """Checks what can be checked before anything is read.

        Raises:
            PlanError: A name is unknown, or the budget or the cluster's address cannot be read.
        """
        check_sampler(sampler)
        check_scheduler(scheduler)
        check_form(cluster)
        return Options(
            models=[models] if isinstance(models, str) else models,
            trainer=[trainer] if isinstance(trainer, str) else trainer,
            space=space,
            budget=Budget.parse(budget),
            sampler=sampler,
            scheduler=scheduler,
            max_concurrent=max_concurrent,
            gpus_per_trial=gpus_per_trial,
            cluster=cluster,
            verbose=verbose,
        )


def given_fields(given: Any, untouched: Any) -> list[str]:
    """Returns the fields of a dataclass that differ from an instance on which nothing was set."""
    pairs = {field.name: (getattr(given, field.name), getattr(untouched, field.name)) for field in fields(given)}
    # Tables and functions are compared with nothing: they stand where None would.
    return [
        name
        for name, (value, default) in pairs.items()
        if value is not default and (default is None or (value != default and bool(value or default)))
    ]


def refuse_settled(names: Sequence[str]) -> None:
    """Raises PlanError where arguments beside a plan say again, or otherwise, what the plan has settled."""
    if names:
        listed = ", ".join(f"{name}=" for name in names)
        verb = "is" if len(names) == 1 else "are"
        wrong = f"{listed} {verb} given beside a plan, and the plan has settled that already"
        fix = "leave it out, or make another plan with it: `autosft plan`, autosft.plan(...)"
        raise PlanError(explain(wrong=wrong, expected="a plan alone, and where and how to run it", fix=fix))
