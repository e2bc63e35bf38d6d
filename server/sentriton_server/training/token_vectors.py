"""Token embeddings to start pre-training from: counts of neighbouring tokens over a corpus.

Positive pointwise mutual information of tokens in a window, factored by a truncated singular value decomposition (Levy
and Goldberg 2014; Bullinaria and Levy 2007). Counting takes a minute where gradient descent from random vectors takes
hours to learn which tokens are alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from sentriton.errors import InvalidInput

WINDOW_TOKENS = 5  # tokens to either side; a pair n apart counts 1/n
CONTEXT_SMOOTHING = 0.75  # exponent of the context counts: rare contexts weigh less
CHUNK_PAIRS = 4_000_000


def token_vectors(
    sentences: Iterable[Sequence[int]], vocab_size: int, dimension: int, seed: int
) -> npt.NDArray[np.float32]:
    """Vectors (vocab_size, dimension) of mean 0 and length sqrt(dimension); 0 for tokens that have no neighbours."""
    counts = _neighbours(sentences, vocab_size)
    seen = np.asarray(counts.sum(axis=1)).ravel() > 0
    if dimension > vocab_size:
        raise InvalidInput(
            f"hidden = {dimension}: the tokenizer has {vocab_size} tokens only, too few for token_vector_data; give a "
            "smaller hidden or more tokenizer_data"
        )
    left, values, _ = randomized_svd(_positive_mutual_information(counts), n_components=dimension, random_state=seed)
    vectors = np.zeros((vocab_size, dimension), dtype=np.float32)
    vectors[seen] = (left * np.sqrt(values))[seen]
    vectors[seen] -= vectors[seen].mean(axis=0)
    vectors[seen] *= np.sqrt(dimension) / np.linalg.norm(vectors[seen], axis=1, keepdims=True)
    return vectors


def _neighbours(sentences: Iterable[Sequence[int]], vocab_size: int) -> sparse.csr_matrix:
    """How often two tokens occur in one window, weighted by their distance; symmetric (vocab_size, vocab_size)."""
    sentences = list(sentences)
    lengths = np.fromiter((len(ids) for ids in sentences), dtype=np.int64, count=len(sentences))
    ids = np.fromiter(chain.from_iterable(sentences), dtype=np.int32, count=int(lengths.sum()))
    sentence = np.repeat(np.arange(len(sentences), dtype=np.int32), lengths)
    counts = sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, WINDOW_TOKENS + 1):
        for start in range(0, len(ids) - distance, CHUNK_PAIRS):
            left = slice(start, min(start + CHUNK_PAIRS, len(ids) - distance))
            right = slice(left.start + distance, left.stop + distance)
            together = sentence[left] == sentence[right]
            weights = np.full(int(together.sum()), 1 / distance, dtype=np.float32)
            pairs = (ids[left][together], ids[right][together])
            counts += sparse.coo_matrix((weights, pairs), shape=counts.shape).tocsr()
    return counts + counts.T


def _positive_mutual_information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    pairs = counts.tocoo()
    tokens = np.asarray(counts.sum(axis=1)).ravel()
    contexts = tokens**CONTEXT_SMOOTHING
    expected = tokens[pairs.row] * contexts[pairs.col] / contexts.sum()
    information = np.log(pairs.data / expected)
    kept = information > 0
    return sparse.csr_matrix((information[kept], (pairs.row[kept], pairs.col[kept])), shape=counts.shape)
