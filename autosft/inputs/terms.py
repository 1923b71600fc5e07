"""Texts as weighted counts of their words and letters: TF-IDF, sparse, whatever the language and the length.

Words and pairs of words say what a text is about; pieces of two to five letters within words bear misspellings,
endings, and writing without spaces. Works on the canonical columns "text" and "text_pair".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosft.inputs.overlap import NUM_OVERLAPS, overlaps

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: What a model's folder lists its terms in.
TERMS_FILE = "tfidf.json"

WORDS, LETTERS = "words", "letters"

#: What scikit-learn's vectorizer is told for each kind of term. A word may be one letter or digit long. Pieces of
#: letters that one text alone has are most of them and tell nothing.
_KINDS: Mapping[str, Mapping[str, Any]] = {
    WORDS: {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    LETTERS: {"analyzer": "char_wb", "ngram_range": (2, 5)},
}
_FEWEST_TEXTS = {WORDS: 1, LETTERS: 2}

#: Terms of a kind that are kept at most, the most frequent ones: a model's weights grow with them.
_MOST_TERMS = 100_000

#: What cosines and overlaps of a pair weigh beside its terms, each of which is far below 1. Cross-validated on 3,000
#: training rows of JSTS: 1, 3, 10 and 30 gave a Spearman correlation of .699, .714, .715 and .715.
_LIKENESS_WEIGHT = 10.0


class NoTermsError(ValueError):
    """The texts hold neither a word nor letters that two of them share."""


@dataclass(frozen=True)
class Terms:
    """Terms of one kind.

    Attributes:
        kind: "words" or "letters".
        names: The terms, in the order of their columns.
        idf: What each weighs: the more, the fewer texts have it. Shape (terms,).
    """

    kind: str
    names: tuple[str, ...]
    idf: NDArray[np.float32]


class TermReader:
    """Turns texts, or pairs of texts, into the weights of known terms.

    Attributes:
        terms: By kind.
        pairs: Whether rows hold two texts each.
    """

    def __init__(self, terms: Sequence[Terms], *, pairs: bool) -> None:
        self.terms = tuple(terms)
        self.pairs = pairs
        self._vectorizers = [_with_terms(one) for one in self.terms]

    @classmethod
    def learn(cls, table: pa.Table, kinds: Sequence[str], *, pairs: bool) -> Self:
        """Learns which terms there are, and how rare each is, from rows to train on.

        Raises:
            NoTermsError: There are none.
        """
        texts = [text for column in _columns(pairs) for text in table.column(column).to_pylist()]
        found = [terms for kind in kinds if (terms := _learn(kind, texts)) is not None]
        if not found:
            raise NoTermsError("the texts hold neither words nor letters to learn from")
        return cls(found, pairs=pairs)

    @property
    def size(self) -> int:
        """Columns of `matrix`."""
        num_terms = sum(len(one.names) for one in self.terms)
        return 2 * num_terms + len(self.terms) + NUM_OVERLAPS if self.pairs else num_terms

    def matrix(self, table: pa.Table) -> csr_matrix:
        """Returns rows as weights of terms, sparse float32 of shape (rows, size).

        The terms of a kind have unit length in a text. A pair has those of its texts one after the other, then the
        cosine of the two by kind, and what they have in common letter by letter.
        """
        from scipy import sparse

        if not table.num_rows:  # scikit-learn transforms no rows at all by an error.
            return sparse.csr_matrix((0, self.size), dtype=np.float32)
        texts = [table.column(column).to_pylist() for column in _columns(self.pairs)]
        weighed = [[vectorizer.transform(column) for vectorizer in self._vectorizers] for column in texts]
        parts = [part for column in weighed for part in column]
        if self.pairs:
            cosines = [np.asarray(one.multiply(other).sum(axis=1)) for one, other in zip(*weighed, strict=True)]
            parts.append(sparse.csr_matrix(_LIKENESS_WEIGHT * np.hstack([*cosines, overlaps(*texts)])))
        return sparse.csr_matrix(sparse.hstack(parts, format="csr", dtype=np.float32))


def _columns(pairs: bool) -> tuple[str, ...]:
    return ("text", "text_pair") if pairs else ("text",)


def _learn(kind: str, texts: Sequence[str]) -> Terms | None:
    vectorizer = _vectorizer(kind, min_df=_FEWEST_TEXTS[kind], max_features=_MOST_TERMS)
    try:
        vectorizer.fit(texts)
    except ValueError:  # No term is left: in Chinese, say, or of punctuation, there may be no two texts with one.
        return None
    return Terms(kind, tuple(vectorizer.get_feature_names_out().tolist()), vectorizer.idf_.astype(np.float32))


def _with_terms(terms: Terms) -> Any:
    vectorizer = _vectorizer(terms.kind, vocabulary={name: at for at, name in enumerate(terms.names)})
    vectorizer.idf_ = terms.idf
    return vectorizer


def _vectorizer(kind: str, **options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **_KINDS[kind], **options)
