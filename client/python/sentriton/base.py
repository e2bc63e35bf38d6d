"""All of an encoder that is not I/O: arguments checked, prompts resolved, results shaped. The sync and the asyncio
client share it.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sentriton import protocol
from sentriton.arguments import Sentences, as_texts, check_unicode, one_of, positive, whole_number
from sentriton.deadline import Deadline
from sentriton.dispatch import Dispatcher, Sending
from sentriton.endpoints import Endpoints
from sentriton.errors import InvalidInput, SentritonError, ServerError
from sentriton.manifest import Manifest
from sentriton.pacing import RetryBudget, Window
from sentriton.quantization import PRECISIONS
from sentriton.requests import Rows, plan_requests
from sentriton.results import EncodeOptions, Results
from sentriton.settings import ClientSettings
from sentriton.similarity import SIMILARITY, score_matrix, score_pairs
from sentriton.tokenization import TextTokenizer

__all__ = ["BaseEncoder", "EncodeOptions", "EvaluationFigures", "Results", "ServedModel"]

OUTPUT_VALUES = ("sentence_embedding", "token_embeddings")
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_MODEL_CHANGES_A_CALL = 3  # a server and its neighbour with two models for good are no roll-out

Encoder = TypeVar("Encoder", bound="BaseEncoder")


class EvaluationFigures:
    """Takes what sentence-transformers' evaluators note on a model: `eval_results_dict` has, by evaluator, the figures
    that it found last.
    """

    def __init__(self) -> None:
        self.eval_results_dict: dict[Any, dict[str, Any]] = {}

    def set_evaluation_metrics(self, evaluator: Any, metrics: dict[str, Any], epoch: int = 0, step: int = 0) -> None:
        """Keep a copy of `metrics`. `epoch` and `step` are a training's, and there is none."""
        self.eval_results_dict[evaluator] = dict(metrics)


@dataclass(frozen=True)
class ServedModel:
    """What a server says of its model, and the tokenizer that belongs to it: one call uses one of these throughout."""

    manifest: Manifest
    tokenizer: TextTokenizer


class BaseEncoder:
    """The served model as the caller sees it. `manifest` is there once the encoder is connected."""

    settings: ClientSettings

    def __init__(self, **settings: Any) -> None:
        self.settings = ClientSettings.resolve(**settings)
        self.model_card_data = EvaluationFigures()
        self._served: ServedModel | None = None
        self._similarity_fn_name: str | None = None
        self._budget = RetryBudget()
        self._window = Window(most=self.settings.max_in_flight)
        self._process_id = os.getpid()
        self._closed = threading.Event()  # shared with the copy that a stream works with
        self._abandoned = False

    @property
    def url(self) -> str:
        """The address or addresses of the server, as given."""
        return self.settings.url

    @property
    def manifest(self) -> Manifest:
        """What the server says of its model."""
        return self._model.manifest

    @property
    def _model(self) -> ServedModel:
        if self._served is None:
            raise SentritonError("this encoder is not connected yet; await its connect(), or use it in `async with`")
        return self._served

    @property
    def _tokenizer(self) -> TextTokenizer:
        return self._model.tokenizer

    @property
    def max_seq_length(self) -> int:
        """Most tokens of a sentence, special ones included; what is longer is cut."""
        return self.manifest.max_seq_length

    @property
    def prompts(self) -> dict[str, str]:
        """The model's named prompts."""
        return self.manifest.prompts

    @property
    def default_prompt_name(self) -> str | None:
        """The prompt of `encode` where none is named."""
        return self.manifest.default_prompt_name

    @property
    def similarity_fn_name(self) -> str:
        """cosine, dot, euclidean or manhattan: the model's own, unless it is set here."""
        return self._similarity_fn_name or self.manifest.similarity

    @similarity_fn_name.setter
    def similarity_fn_name(self, name: str) -> None:
        # sentence-transformers' SimilarityFunction is an enumeration with such values.
        self._similarity_fn_name = one_of("similarity_fn_name", getattr(name, "value", name), list(SIMILARITY))

    def get_embedding_dimension(self) -> int:
        """Length of a sentence's vector."""
        return self.manifest.dimension

    def get_sentence_embedding_dimension(self) -> int:
        """Length of a sentence's vector."""
        return self.manifest.dimension

    def get_max_seq_length(self) -> int:
        """Most tokens of a sentence, special ones included."""
        return self.max_seq_length

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included, cut at `max_seq_length`, without padding."""
        return self._tokenizer.tokenize(as_texts(texts)[0])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Score every row of the first against every row of the second by `similarity_fn_name`: [n, d] and [m, d] to
        [n, m]. Arrays give an array, torch tensors a tensor. Raises `InvalidInput` where d differs.
        """
        return score_matrix(self.similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Score the rows of both pair by pair: [n, d] and [n, d] to [n]. Raises `InvalidInput` where shapes differ."""
        return score_pairs(self.similarity_fn_name, embeddings1, embeddings2)

    def query_prompt_name(self, prompt_name: str | None, prompt: str | None) -> str | None:
        """The prompt that `encode_query` uses where the caller names none."""
        if prompt_name is None and prompt is None and "query" in self.prompts:
            return "query"
        return prompt_name

    def document_prompt_name(self, prompt_name: str | None, prompt: str | None) -> str | None:
        """The prompt that `encode_document` uses where the caller names none."""
        if prompt_name is None and prompt is None:
            return next((name for name in DOCUMENT_PROMPTS if name in self.prompts), None)
        return prompt_name

    def _deadline(self, timeout_s: float | None = None) -> Deadline:
        """The end of a call that begins now. `timeout_s` is the call's own; None: the encoder's."""
        timeout_s = self.settings.timeout_s if timeout_s is None else positive("timeout_s", timeout_s)
        return Deadline(timeout_s, self.settings.stall_timeout_s, time.monotonic())

    def _texts(
        self, sentences: Sentences | None, inputs: Sentences | None, deadline: Deadline
    ) -> tuple[list[str], bool]:
        """The sentences of a call, and whether it was a single string. Reading them ends with the call's time, and is
        no silence of the server.
        """

        def go_on() -> None:
            if time.monotonic() >= deadline.end:
                raise deadline.exceeded(self.url)

        texts, single = as_texts(sentences, inputs, go_on)
        deadline.moved(time.monotonic())
        return texts, single

    def _pinned(self: Encoder) -> Encoder:
        """This encoder with the model that it has now and keeps: for vectors of several calls that belong together."""
        pinned = copy.copy(self)
        pinned.settings = dataclasses.replace(self.settings, on_model_change="raise")
        return pinned

    def _may_reload(self, changes: int) -> bool:
        """Whether a call that met another model for the `changes`-th time starts again with that one."""
        return self.settings.on_model_change == "reload" and changes <= _MODEL_CHANGES_A_CALL

    def _options(
        self,
        model: ServedModel,
        *,
        single: bool,
        prompt_name: str | None,
        prompt: str | None,
        batch_size: int | None,
        show_progress_bar: bool | None,
        output_value: str,
        precision: str | None,
        convert_to_numpy: bool,
        convert_to_tensor: bool,
        normalize_embeddings: bool,
        truncate_dim: int | None,
    ) -> EncodeOptions:
        """Check the arguments of `encode`. Raises `InvalidInput` naming argument, value and what is allowed."""
        # sentence-transformers' evaluators say None for float32.
        precision = one_of("precision", "float32" if precision is None else precision, PRECISIONS)
        max_rows = model.manifest.max_batch_size
        if batch_size is not None:
            max_rows = min(whole_number("batch_size", batch_size), max_rows)
        most = model.manifest.dimension
        return EncodeOptions(
            single=single,
            prompt=_resolve_prompt(model.manifest, prompt_name, prompt),
            max_rows=max_rows,
            output_value=one_of("output_value", output_value, OUTPUT_VALUES),
            precision=precision,
            convert_to_numpy=convert_to_numpy and not convert_to_tensor,
            convert_to_tensor=convert_to_tensor,
            normalize_embeddings=normalize_embeddings,
            dimension=most if truncate_dim is None else whole_number("truncate_dim", truncate_dim, most=most),
            model_dimension=most,
            show_progress_bar=bool(show_progress_bar),
        )

    def _plan(self, texts: list[str], model: ServedModel, options: EncodeOptions) -> Iterator[Rows]:
        not_pooled = 0
        if options.prompt and not model.manifest.include_prompt:
            not_pooled = model.tokenizer.prompt_length(options.prompt)
        return plan_requests(
            texts,
            model.tokenizer,
            max_rows=options.max_rows,
            prompt=options.prompt,
            not_pooled=not_pooled,
        )

    def _dispatcher(
        self, plan: Iterator[Rows], total: int, deadline: Deadline, endpoints: Endpoints[Any]
    ) -> Dispatcher:
        if os.getpid() != self._process_id:
            raise SentritonError(
                "this encoder was made in another process and does not survive a fork; make a new one in each process"
            )
        self._check_open()
        return Dispatcher(
            plan,
            total=total,
            deadline=deadline,
            window=self._window.anew(),
            budget=self._budget,
            endpoints=endpoints,
        )

    def _check_open(self, cause: Exception | None = None) -> None:
        """Raises when the encoder was closed: what that did to a call, its `cause`, has many names."""
        if self._closed.is_set() or self._abandoned:
            raise SentritonError("this encoder is closed; make a new one") from cause

    @staticmethod
    def _settle(dispatcher: Dispatcher, sending: Sending, result: Callable[[], Any], results: Results) -> None:
        """Note what came of a request: `result` gives the response, or raises."""
        if not dispatcher.awaits(sending):
            return
        now = time.monotonic()
        try:
            response = result()
            try:
                results.collect(sending.attempt.rows, response)
            except ServerError as error:
                raise ServerError(f"a wrong answer of {sending.endpoint.address}: {error}") from error
        except SentritonError as error:
            dispatcher.failed(sending, error, now)
        else:
            dispatcher.answered(sending, now)

    def _request(self, rows: Rows, model: ServedModel, options: EncodeOptions, time_left_s: float) -> Any:
        parameters = protocol.parameters(
            fingerprint=model.manifest.fingerprint, priority=self.settings.priority, timeout_s=time_left_s
        )
        return protocol.tokens_request(rows.tokens, parameters, options.output_value)


def _resolve_prompt(manifest: Manifest, prompt_name: str | None, prompt: str | None) -> str:
    if prompt is not None:
        if not isinstance(prompt, str):
            raise InvalidInput(f"prompt is {prompt!r} ({type(prompt).__name__}); give a string or None")
        check_unicode("prompt", prompt)
        return prompt
    name = prompt_name if prompt_name is not None else manifest.default_prompt_name
    if name is None:
        return ""
    if not isinstance(name, str) or name not in manifest.prompts:
        known = ", ".join(map(repr, manifest.prompts)) or "none"
        raise InvalidInput(f"prompt_name is {name!r}; the model's prompts are {known}")
    return manifest.prompts[name]
