"""Pairs of texts that nearly repeat each other: Jaccard similarity of their sets of character 5-grams.

Candidates come from prefix filtering (Chaudhuri, Ganti and Kaushik 2006): two sets with similarity t or more share one
of their rarest (1 - t) x size + 1 members. Everything is NumPy on one sorted array of (text, 5-gram) keys.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Pairs = NDArray[np.int64]

GRAM = 5
#: Characters compared in all; beyond it, only the beginnings of long texts look for candidates. About 1 GB of memory.
MAX_CHARACTERS = 20_000_000
MAX_CHARACTERS_PER_TEXT = 1_000
#: Candidate pairs looked at. Heavily templated texts reach it; pairs beyond are not found.
MAX_CANDIDATES = 200_000
#: A text is compared with this many others that share a rare 5-gram.
_MAX_NEIGHBOURS = 100
_GRAM_BITS = 36
_HASH_BITS = 31
_GRAM_MASK = (1 << _GRAM_BITS) - 1


def similar_pairs(texts: pa.Array, *, split_at: int | None, threshold: float) -> tuple[Pairs, NDArray[np.float64]]:
    """Finds pairs of texts with a similarity of at least `threshold`.

    Args:
        texts: Strings; those shorter than five characters have no 5-gram and are never similar.
        split_at: Only pairs of a text before this position and one from it on; None for all pairs.
        threshold: Least Jaccard similarity, in (0, 1].

    Returns:
        Pairs of positions, the smaller first, shape (pairs, 2), and their similarities, shape (pairs,).
    """
    limit = max(GRAM, min(MAX_CHARACTERS_PER_TEXT, MAX_CHARACTERS // max(len(texts), 1)))
    # Neighbours in a run of one 5-gram are compared, so texts are shuffled to mix the two sides of `split_at`.
    order = np.random.default_rng(0).permutation(len(texts))
    cut = pc.utf8_slice_codeunits(texts.take(pa.array(order)), 0, limit)
    keys = _gram_keys(cut)
    if not len(keys):
        return np.zeros((0, 2), np.int64), np.zeros(0)
    sizes = np.bincount(keys >> _GRAM_BITS, minlength=len(texts))
    pairs = _candidates(keys, sizes, side=None if split_at is None else order < split_at, threshold=threshold)
    similarity = _jaccard(keys, sizes, pairs)
    found = similarity >= threshold
    pairs, similarity = np.sort(order[pairs[found]], axis=1), similarity[found]
    long = np.asarray(pc.greater(pc.utf8_length(texts), limit).to_numpy(zero_copy_only=False))[pairs].any(axis=1)
    similarity[long] = [_whole_jaccard(texts[int(i)].as_py(), texts[int(j)].as_py()) for i, j in pairs[long]]
    found = similarity >= threshold
    by_position = np.lexsort((pairs[found, 1], pairs[found, 0]))
    return pairs[found][by_position], similarity[found][by_position]


def _gram_keys(texts: pa.Array) -> NDArray[np.int64]:
    """Returns sorted distinct keys: text number, then how frequent the 5-gram is (log2), then its 31-bit hash."""
    characters = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if len(characters) < GRAM:
        return np.zeros(0, np.int64)
    owner = np.repeat(np.arange(len(texts), dtype=np.int64), pc.utf8_length(texts).to_numpy(zero_copy_only=False))
    num_windows = len(characters) - GRAM + 1
    hashed = np.zeros(num_windows, np.uint64)
    for at in range(GRAM):
        hashed = (hashed ^ characters[at : at + num_windows]) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(29)
    inside = owner[:num_windows] == owner[GRAM - 1 :]
    grams = (hashed[inside] >> np.uint64(64 - _HASH_BITS)).astype(np.int64)
    # A hash of 22 bits is enough to tell rare from frequent.
    counts = np.bincount(grams >> (_HASH_BITS - 22), minlength=1 << 22)
    level = np.log2(counts, where=counts > 0, out=np.zeros(len(counts))).astype(np.int64)
    ranked = (level[grams >> (_HASH_BITS - 22)] << _HASH_BITS) | grams
    return _sorted_distinct((owner[:num_windows][inside] << _GRAM_BITS) | ranked)


def _sorted_distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Does what np.unique does, whose hash table takes five times as long on ten million distinct keys."""
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def _candidates(
    keys: NDArray[np.int64], sizes: NDArray[np.int64], *, side: NDArray[np.bool_] | None, threshold: float
) -> Pairs:
    """Returns pairs that share a rare 5-gram and whose sizes allow the similarity, shape (pairs, 2)."""
    owner = keys >> _GRAM_BITS
    starts = np.cumsum(sizes) - sizes
    prefix = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    rare = np.arange(len(keys)) - starts[owner] < prefix[owner]
    grams, owner = keys[rare] & _GRAM_MASK, owner[rare]
    order = np.argsort(grams, kind="stable")
    grams, owner = grams[order], owner[order]
    found: list[NDArray[np.int64]] = []
    num_found = 0
    for step in range(1, _MAX_NEIGHBOURS + 1):
        at = np.flatnonzero(grams[step:] == grams[:-step])
        if not len(at) or num_found > MAX_CANDIDATES:
            break
        left, right = owner[at], owner[at + step]
        small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
        wanted = small >= threshold * large
        if side is not None:
            wanted &= side[left] != side[right]
        pairs = _sorted_distinct(left[wanted] * len(sizes) + right[wanted])
        num_found += len(pairs)
        found.append(pairs)
    joined = _sorted_distinct(np.concatenate(found))[:MAX_CANDIDATES] if found else np.zeros(0, np.int64)
    return np.stack([joined // len(sizes), joined % len(sizes)], axis=1)


def _jaccard(keys: NDArray[np.int64], sizes: NDArray[np.int64], pairs: Pairs) -> NDArray[np.float64]:
    starts = np.cumsum(sizes) - sizes
    shared = np.zeros(len(pairs), np.int64)
    for begin in range(0, len(pairs), 10_000):
        block = pairs[begin : begin + 10_000]
        # A 5-gram that both texts of a pair have stands there twice, side by side once sorted.
        members = np.sort(np.concatenate([_members(keys, starts, sizes, texts) for texts in block.T]), kind="stable")
        twice = members[1:][members[1:] == members[:-1]]
        shared[begin : begin + 10_000] = np.bincount(twice >> _GRAM_BITS, minlength=len(block))
    return np.asarray(shared / np.maximum(sizes[pairs].sum(axis=1) - shared, 1))


def _members(
    keys: NDArray[np.int64], starts: NDArray[np.int64], sizes: NDArray[np.int64], texts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns the 5-grams of these texts, each with its text's place among them in the higher bits."""
    num = sizes[texts]
    place = np.repeat(np.arange(len(texts)), num)
    within = np.arange(len(place)) - np.repeat(np.cumsum(num) - num, num)
    return np.asarray((place << _GRAM_BITS) | (keys[starts[texts][place] + within] & _GRAM_MASK))


def _whole_jaccard(first: str, second: str) -> float:
    one, other = ({text[at : at + GRAM] for at in range(len(text) - GRAM + 1)} for text in (first, second))
    return len(one & other) / max(len(one | other), 1)
