"""Similarity scores as in sentence_transformers.util.similarity: higher is more similar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, Union, get_args, overload

import numpy as np
from numpy.typing import NDArray

from sentriton.errors import InvalidInput
from sentriton.keywords import Matrix, Vector
from sentriton.signatures import Declares, as_it_is

if TYPE_CHECKING:
    from torch import Tensor

Embeddings: TypeAlias = NDArray[np.floating[Any]]
SimilarityName: TypeAlias = Literal["cosine", "dot", "euclidean", "manhattan"]
SIMILARITY_NAMES: tuple[SimilarityName, ...] = get_args(SimilarityName)
# The arguments of `similarity`: arrays of `encode`, any arrays and lists of numbers, and tensors.
EncodedArray: TypeAlias = NDArray[np.float32 | np.int8 | np.uint8]
Arrays: TypeAlias = NDArray[np.generic] | Sequence[NDArray[np.generic]] | Sequence[float] | Sequence[Sequence[float]]
Tensors: TypeAlias = Union["TensorLike", Sequence["TensorLike"]]
TensorsOrArrays: TypeAlias = Tensors | Arrays
Score: TypeAlias = Callable[[Embeddings, Embeddings], Embeddings]


class TensorLike(Protocol):
    """A torch tensor. Without torch, type checkers take `Tensor` for any type, including strings."""

    def detach(self) -> Any: ...


Exact = TypeVar("Exact", covariant=True)
Floats = TypeVar("Floats", covariant=True)


class Scores(Protocol[Exact, Floats]):
    """The overloads of `similarity` and `similarity_pairwise`."""

    @overload
    def __call__(self, embeddings1: EncodedArray, embeddings2: EncodedArray) -> Exact: ...
    @overload
    def __call__(self, embeddings1: Arrays, embeddings2: Arrays) -> Floats: ...
    @overload
    def __call__(self, embeddings1: Tensors, embeddings2: TensorsOrArrays) -> Tensor: ...
    @overload
    def __call__(self, embeddings1: Arrays, embeddings2: Tensors) -> Tensor: ...


similarity_signature: Declares[Scores[Matrix[np.float32], Matrix[np.float32] | Matrix[np.float64]]] = as_it_is
pairwise_signature: Declares[Scores[Vector[np.float32], Vector[np.float32] | Vector[np.float64]]] = as_it_is


def normalize(embeddings: Embeddings) -> Embeddings:
    """Scale each row to length 1. A row of zeros stays zero."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)


# [n, d] and [n, d] to [n].
PAIRWISE: dict[str, Score] = {
    "cosine": lambda first, second: (normalize(first) * normalize(second)).sum(axis=-1),
    "dot": lambda first, second: (first * second).sum(axis=-1),
    "euclidean": lambda first, second: -np.linalg.norm(first - second, axis=-1),
    "manhattan": lambda first, second: -np.abs(first - second).sum(axis=-1),
}
# [n, d] and [m, d] to [n, m].
SIMILARITY: dict[str, Score] = {
    "cosine": lambda first, second: normalize(first) @ normalize(second).T,
    "dot": lambda first, second: first @ second.T,
    "euclidean": lambda first, second: _by_row(first, second, PAIRWISE["euclidean"]),
    "manhattan": lambda first, second: _by_row(first, second, PAIRWISE["manhattan"]),
}


def score_matrix(name: str, embeddings1: TensorsOrArrays, embeddings2: TensorsOrArrays) -> Any:
    """`SIMILARITY[name]` [n, m] of arrays, lists or torch tensors, [n, d] and [m, d] (or [d] for one). Tensors give a
    tensor on the device of the first. Raises `InvalidInput` if the dimensions differ.
    """
    first, second = _as_matrix(embeddings1), _as_matrix(embeddings2)
    if first.shape[-1] != second.shape[-1]:
        raise InvalidInput(
            f"embeddings of shapes {first.shape} and {second.shape} cannot be compared: the last dimension must be "
            "equal; were they made by one model, with one truncate_dim?"
        )
    return _as_given(SIMILARITY[name](first, second), embeddings1, embeddings2)


def score_pairs(name: str, embeddings1: TensorsOrArrays, embeddings2: TensorsOrArrays) -> Any:
    """`PAIRWISE[name]` [n] of arrays, lists or torch tensors, both [n, d]. Raises `InvalidInput` if shapes differ."""
    first, second = _as_matrix(embeddings1), _as_matrix(embeddings2)
    if first.shape != second.shape:
        raise InvalidInput(f"embeddings of shapes {first.shape} and {second.shape} cannot be paired; give equal shapes")
    return _as_given(PAIRWISE[name](first, second), embeddings1, embeddings2)


def _by_row(first: Embeddings, second: Embeddings, score: Score) -> Embeddings:
    scores = [score(row, second) for row in first]
    return np.array(scores, dtype=first.dtype).reshape(len(first), len(second))


def _as_matrix(embeddings: Any) -> NDArray[Any]:
    """[n, d] in float64 if given in float64, else in float32, since float16 and integers would round the scores."""
    if isinstance(embeddings, (list, tuple)) and any(_is_tensor(row) for row in embeddings):
        embeddings = [_as_array(row) for row in embeddings]
    matrix = np.asarray(_as_array(embeddings))
    if matrix.dtype.kind != "f" or matrix.itemsize < 4:
        matrix = matrix.astype(np.float32)
    return matrix[None] if matrix.ndim == 1 else matrix


def _as_array(embeddings: Any) -> Any:
    if not _is_tensor(embeddings):
        return embeddings
    on_cpu = embeddings.detach().cpu()
    return (on_cpu if on_cpu.element_size() >= 4 else on_cpu.float()).numpy()  # numpy has no bfloat16


def _as_given(scores: NDArray[Any], *embeddings: Any) -> Any:
    for given in embeddings:
        row = given[0] if isinstance(given, (list, tuple)) and given else given
        if _is_tensor(row):
            # A caller with a tensor has imported torch.
            return sys.modules["torch"].from_numpy(np.ascontiguousarray(scores)).to(row.device)
    return scores


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)
