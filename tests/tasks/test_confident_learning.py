"""Labels that are probably wrong: planted ones are found, and rows that are merely hard are not accused."""

from __future__ import annotations

import numpy as np

from autosft.tasks.confident_learning import suspected_labels


def sure(labels: np.ndarray, num_labels: int, share: float = 0.9) -> np.ndarray:
    rest = (1 - share) / (num_labels - 1)
    return np.where(np.eye(num_labels, dtype=bool)[labels], share, rest).astype(np.float32)


def test_planted_errors_are_found_and_the_surest_comes_first() -> None:
    true = np.arange(60) % 3
    given = true.copy()
    given[[4, 30]] = (true[[4, 30]] + 1) % 3
    probabilities = sure(true, 3, 0.8)
    probabilities[30] = sure(true[30:31], 3, 0.99)[0]
    rows, labels = suspected_labels(given, probabilities)
    assert rows.tolist() == [30, 4]
    assert labels.tolist() == true[[30, 4]].tolist()


def test_a_model_that_hesitates_accuses_nobody() -> None:
    targets = np.arange(60) % 3
    probabilities = sure(targets, 3, 0.8)
    # Likeliest is another label, but less so than rows of that label are of theirs.
    probabilities[7] = [0.4, 0.25, 0.35] if targets[7] != 0 else [0.3, 0.4, 0.3]
    assert not len(suspected_labels(targets, probabilities)[0])


def test_a_label_that_no_row_has_is_never_the_right_one() -> None:
    targets = np.zeros(10, np.int64)
    targets[5:] = 1
    probabilities = np.float32([[0.3, 0.1, 0.6], [0.1, 0.3, 0.6]])[targets]
    assert not len(suspected_labels(targets, probabilities)[0])


def test_a_row_is_not_accused_of_a_label_that_is_less_likely_than_its_own() -> None:
    # Rows of the last label are given it so seldom that a little of it passes for confident.
    targets = np.array([0] * 20 + [1] * 5)
    probabilities = np.float32([[0.9, 0.1]] * 19 + [[0.6, 0.4]] + [[0.7, 0.3]] * 5)
    assert not len(suspected_labels(targets, probabilities)[0])
