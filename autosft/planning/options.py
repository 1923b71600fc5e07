"""How a question is to be answered: the arguments of `fit` that are about the search and where it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autosft.budget import Budget
from autosft.cluster.address import check_form
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
