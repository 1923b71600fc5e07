"""Which metric decides, and which label is the positive one: the user's choice, else the sentence's, else the kind's.

What the metrics compute lives with the kinds of task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autosft.errors import TaskError, did_you_mean, explain
from autosft.inference.sentence import Sentence
from autosft.task import Metric
from autosft.tasks.base import TaskKind
from autosft.tasks.label_values import label_text

_ALIASES = {
    "acc": "accuracy",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "rocauc": "roc_auc",
    "ap": "average_precision",
    "auprc": "average_precision",
    "pr_auc": "average_precision",
    "f1_macro": "macro_f1",
    "f1_weighted": "weighted_f1",
    "f1_binary": "f1",
    "f1_score": "f1",
    "logloss": "log_loss",
    "nll": "log_loss",
    "cross_entropy": "log_loss",
    "matthews": "mcc",
    "matthews_corrcoef": "mcc",
    "bacc": "balanced_accuracy",
    "hamming": "hamming_loss",
    "map": "macro_average_precision",
    "average_precision_macro": "macro_average_precision",
    "f1_micro": "micro_f1",
    "f1_samples": "samples_f1",
    "correlation": "spearman",
    "spearmanr": "spearman",
    "pearsonr": "pearson",
    "r_squared": "r2",
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
    "bpb": "bits_per_byte",
    "perplexity": "bits_per_byte",
    "em": "exact_match",
}
# What a word means where a kind has no metric of that name.
_MEANT: Mapping[str, tuple[str, ...]] = {
    "accuracy": ("subset_accuracy", "token_accuracy", "exact_match"),
    "f1": ("micro_f1", "entity_f1"),
    "macro_f1": ("macro_entity_f1",),
    "precision": ("entity_precision",),
    "recall": ("entity_recall",),
    "average_precision": ("macro_average_precision",),
    "roc_auc": ("spearman",),
}
# Metrics about one label of two.
_ONE_SIDED = frozenset({"f1", "precision", "recall", "average_precision"})
# What such a metric alone does not see, so that its best model may be of no use.
_UNSEEN = {"recall": "what is flagged in error", "precision": "what is missed"}
_POSITIVE_BY_CONVENTION = frozenset({"1", "true", "yes", "y", "positive", "pos"})
_SKEWED = 0.8


@dataclass(frozen=True)
class Labels:
    """The labels as text in output order, the rarest of them, and the share of rows of the most frequent.

    Kinds without one label a row have none.
    """

    names: tuple[str, ...] = ()
    rarest: str = ""
    top_share: float = 0.0

    @property
    def binary(self) -> bool:
        return len(self.names) == 2


def choose_metric(
    kind: TaskKind,
    metric: str | Metric | Callable[..., float] | None,
    positive: object | None,
    labels: Labels,
    sentence: Sentence,
) -> tuple[Metric, list[str]]:
    """Returns the deciding metric and the reasons for it.

    Raises:
        TaskError: The metric is unknown, or the positive label is not among the labels.
    """
    if positive is None and isinstance(metric, Metric):
        positive = metric.positive
    given = None if positive is None else _check_positive(positive, labels)
    if isinstance(metric, Metric) and metric.function is not None:
        return replace(metric, positive=given), [f"the metric is your function '{metric.name}'"]
    if callable(metric):
        return _from_function(metric, given)
    if metric is not None:
        name, reasons = _known(kind, metric.name if isinstance(metric, Metric) else metric), []
        minority = False
    else:
        name, reason, minority = _from_sentence(kind, labels, sentence)
        reasons = [reason]
    if name == "f1" and not labels.binary and given is None:
        name = "macro_f1"
        reasons.append(f"with {len(labels.names)} labels, F1 is averaged over them: the metric is macro_f1")
    if given is None and name in _ONE_SIDED:
        given, why = _positive(labels, sentence, minority=minority)
        if given is not None:
            reasons.append(f"the positive label is '{given}': {why}")
    if name in _UNSEEN:
        reasons.append(f"{name} alone does not count {_UNSEEN[name]}; f1 and average_precision weigh both")
    return Metric(name, kind.metrics[name], given), reasons


def _known(kind: TaskKind, name: str) -> str:
    folded = name.strip().casefold().replace("-", "_").replace(" ", "_")
    folded = _ALIASES.get(folded, folded)
    folded = _named(kind, folded) or folded
    if folded not in kind.metrics:
        expected = f"a metric of {kind.name}, or a function of targets and predictions"
        fix = did_you_mean(name, kind.metrics)
        raise TaskError(explain(wrong=f"no metric is called '{name}'", expected=expected, fix=fix))
    return folded


def _named(kind: TaskKind, name: str) -> str | None:
    """Returns the kind's metric that a name means, None where it has none such."""
    return next((metric for metric in (name, *_MEANT.get(name, ())) if metric in kind.metrics), None)


def _from_function(function: Callable[..., float], positive: str | None) -> tuple[Metric, list[str]]:
    name: Any = getattr(function, "__name__", None)
    if name is None or not hasattr(function, "__qualname__"):
        raise TaskError(
            explain(
                wrong=f"the metric {function!r} has no name",
                expected="a function defined with def, called as function(targets, predictions)",
                fix="wrap it in a function at the top level of a module",
            )
        )
    return Metric(name, True, positive, function), [f"the metric is your function '{name}', where greater is better"]


def _from_sentence(kind: TaskKind, labels: Labels, sentence: Sentence) -> tuple[str, str, bool]:
    """Returns the metric's name, the reason, and whether the rare label is what it is about."""
    asked, aside = sentence.metrics()
    imbalanced = asked.pop("imbalanced", None)
    f1 = _named(kind, "f1")
    if {"recall", "precision"} <= asked.keys() and f1:
        return f1, "the sentence asks for recall and precision: the metric is F1", imbalanced is not None
    for word, words in asked.items():
        if name := _named(kind, word):
            return name, f"the sentence says '{words}': the metric is {name}", imbalanced is not None
    if imbalanced and (name := _named(kind, "f1" if labels.binary else "macro_f1")):
        return name, f"the sentence says '{imbalanced}': the metric is {name}", True
    unwanted = {name: words for word, words in aside.items() if (name := _named(kind, word))}
    default = next(iter(kind.metrics))
    if default in unwanted:
        chosen = next((name for name in kind.metrics if name not in unwanted), default)
        return chosen, f"the sentence sets '{unwanted[default]}' aside: the metric is {chosen}", False
    reason = f"the metric is {default}, the default"
    if labels.top_share > _SKEWED:
        reason += f"; {labels.top_share:.0%} of the rows have one label, so consider metric='macro_f1'"
    return default, reason, False


def _positive(labels: Labels, sentence: Sentence, *, minority: bool) -> tuple[str | None, str]:
    named = [label for label in labels.names if sentence.names_label(label)]
    if len(named) == 1:
        return named[0], "the sentence names it"
    if not labels.binary:
        return None, ""
    conventional = [label for label in labels.names if label.casefold() in _POSITIVE_BY_CONVENTION]
    if len(conventional) == 1 and not minority:
        return conventional[0], "by convention"
    return labels.rarest, "it has fewer rows"


def _check_positive(positive: object, labels: Labels) -> str:
    if not labels.names:
        wrong = f"positive={positive!r} is given, and this kind of task has no label that a metric could be about"
        raise TaskError(explain(wrong=wrong, expected="a task with one label per row", fix="leave positive= out"))
    text = label_text(positive)
    folded = {label.casefold(): label for label in labels.names}
    found = text if text in labels.names else folded.get(text.casefold())
    if found is None:
        expected = "one of the labels"
        wrong = f"the positive label {positive!r} is not among the labels"
        raise TaskError(explain(wrong=wrong, expected=expected, fix=did_you_mean(text, labels.names)))
    return found
