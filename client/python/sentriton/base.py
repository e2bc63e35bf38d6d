"""The properties, tokens and similarity of the served model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Generic, NoReturn, cast

from sentriton.arguments import as_texts, choice
from sentriton.endpoints import AnyConnection
from sentriton.manifest import Manifest
from sentriton.session import Session
from sentriton.settings import ClientSettings
from sentriton.similarity import (
    SIMILARITY_NAMES,
    SimilarityName,
    pairwise_signature,
    score_matrix,
    score_pairs,
    similarity_signature,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sentriton.keywords import Settings
    from sentriton.similarity import TensorsOrArrays


class ModelCardData:
    """Stores the last figures of sentence-transformers' evaluators in `eval_results_dict`."""

    def __init__(self) -> None:
        self.eval_results_dict: dict[object, dict[str, float]] = {}

    def set_evaluation_metrics(
        self, evaluator: object, metrics: Mapping[str, float], epoch: int = 0, step: int = 0
    ) -> None:
        """Store a copy of `metrics`. `epoch` and `step` are unused."""
        self.eval_results_dict[evaluator] = dict(metrics)


class BaseEncoder(Generic[AnyConnection]):
    """The methods of both encoders without requests. They need a connected encoder."""

    def __init__(self, url: str | None = None, **settings: Unpack[Settings]) -> None:
        self._session = Session[AnyConnection](ClientSettings.resolve(url=url, **settings))
        self._similarity_fn_name: SimilarityName | None = None
        self.model_card_data = ModelCardData()

    def __getstate__(self) -> NoReturn:
        raise TypeError("an encoder has connections and cannot be pickled or copied; make a new one in each process")

    @property
    def settings(self) -> ClientSettings:
        """The settings in effect."""
        return self._session.settings

    @property
    def url(self) -> str:
        """The address or addresses of the server, as given."""
        return self.settings.url

    @property
    def manifest(self) -> Manifest:
        """The manifest of the served model."""
        return self._session.model.manifest

    @property
    def max_seq_length(self) -> int:
        """Largest number of tokens of a sentence, including special tokens. Longer sentences are truncated."""
        return self.manifest.max_seq_length

    @property
    def prompts(self) -> dict[str, str]:
        """The model's named prompts."""
        return self.manifest.prompts

    @property
    def default_prompt_name(self) -> str | None:
        """The name of the prompt that `encode` uses by default, if any."""
        return self.manifest.default_prompt_name

    @property
    def similarity_fn_name(self) -> SimilarityName:
        """The similarity function: cosine, dot, euclidean or manhattan. The default is the model's."""
        return self._similarity_fn_name or cast("SimilarityName", self.manifest.similarity)

    @similarity_fn_name.setter
    def similarity_fn_name(self, name: SimilarityName | Enum) -> None:
        # sentence-transformers' SimilarityFunction has such values.
        self._similarity_fn_name = choice("similarity_fn_name", getattr(name, "value", name), SIMILARITY_NAMES)

    def get_embedding_dimension(self) -> int:
        """Return the length of a sentence embedding."""
        return self.manifest.dimension

    get_sentence_embedding_dimension = get_embedding_dimension

    def get_max_seq_length(self) -> int:
        """Return `max_seq_length`."""
        return self.max_seq_length

    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the token ids of each text, including special tokens, truncated to `max_seq_length`."""
        return self._session.model.tokenizer.tokenize(as_texts(texts)[0])

    @similarity_signature
    def similarity(self, embeddings1: TensorsOrArrays, embeddings2: TensorsOrArrays) -> object:
        """Score every row of `embeddings1` [n, d] against every row of `embeddings2` [m, d]. Return the scores [n, m].

        The function is `similarity_fn_name`. Higher is more similar: euclidean and manhattan give negative distances.
        Torch tensors give a tensor. Raises `InvalidInput` if d differs.

        >>> scores = encoder.similarity(queries, documents)
        """
        return score_matrix(self.similarity_fn_name, embeddings1, embeddings2)

    @pairwise_signature
    def similarity_pairwise(self, embeddings1: TensorsOrArrays, embeddings2: TensorsOrArrays) -> object:
        """Score each row of `embeddings1` [n, d] against the same row of `embeddings2` [n, d]. Return the scores [n].
        Raises `InvalidInput` if the shapes differ.
        """
        return score_pairs(self.similarity_fn_name, embeddings1, embeddings2)
