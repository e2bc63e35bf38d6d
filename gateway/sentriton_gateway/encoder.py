"""The asyncio client with counts of tokens and with tokenized rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from sentriton.aio import AsyncSentenceEncoder
from sentriton.call import Call
from sentriton.connection import AsyncConnection
from sentriton.errors import ContractMismatch, InvalidInput, SentritonError
from sentriton.joint import Member
from sentriton.keywords import AnyArguments
from sentriton.manifest import Manifest
from sentriton.requests import TOKENS_PER_REQUEST, RequestRows, cut
from sentriton.served_model import ServedModel
from sentriton.session import Session
from sentriton.tokenization import pack_rows
from sentriton_gateway.faults import shown
from sentriton_gateway.kept import Kept

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sentriton.keywords import Settings

_READING_TIMEOUT_S = 5.0  # for reading the manifest again


class CountedCall(Call[AsyncConnection]):
    """A call that counts its `tokens`, including special ones and those of the prompt."""

    tokens: int

    def begin(self) -> None:
        super().begin()
        self.tokens = 0

    def take(self, member: Member[AsyncConnection]) -> bool:
        complete = super().take(member)
        self.tokens = member.size if complete else 0
        return complete

    def _plan(self) -> Iterator[RequestRows]:
        for rows in super()._plan():
            self.tokens += len(rows.tokens.input_ids)
            yield rows

    @property
    def model(self) -> ServedModel:
        """The model of the vectors."""
        return self._model


class TokensCall(CountedCall):
    """A call whose rows are token ids of the model's tokenizer, including special tokens.

    Raises `InvalidInput` for other rows, since ids of another model's tokenizer would give wrong vectors.
    """

    is_small = False

    def __init__(self, session: Session[AsyncConnection], rows: list[list[int]], arguments: AnyArguments) -> None:
        super().__init__(session, [""] * len(rows), None, "", arguments)
        self._rows = rows

    def begin(self) -> None:
        super().begin()
        manifest = self.model.manifest
        edges = self._model.tokenizer.tokenize([""])[0]
        for place, row in enumerate(self._rows):
            if not 0 < len(row) <= manifest.max_seq_length:
                raise InvalidInput(
                    f"input[{place}] has {len(row)} tokens; allowed are 1 to {manifest.max_seq_length}; "
                    "send text to have it truncated"
                )
            if min(row) < 0 or max(row) >= manifest.vocab_size:
                wrong = next(token for token in row if not 0 <= token < manifest.vocab_size)
                raise InvalidInput(
                    f"input[{place}] has the token id {shown(wrong)}; allowed are 0 to {manifest.vocab_size - 1}; "
                    "send text if the tokens are of another model (LangChain: check_embedding_ctx_length=False)"
                )
            if edges and (row[0], row[-1]) != (edges[0], edges[-1]):
                raise InvalidInput(
                    f"input[{place}] begins with the token id {row[0]} and ends with {row[-1]}; this model's tokenizer "
                    f"begins with {edges[0]} and ends with {edges[-1]}; send its tokens with the special ones, or send "
                    "text (LangChain: check_embedding_ctx_length=False)"
                )

    def changed(self, error: ContractMismatch) -> ServedModel:
        """Raises `error`, because the token ids are for a model that the server no longer has."""
        raise error

    def _plan(self) -> Iterator[RequestRows]:
        order = sorted(range(len(self._rows)), key=lambda index: -len(self._rows[index]))
        lengths = [len(self._rows[index]) for index in order]
        self.tokens = sum(lengths)
        for places in cut(lengths, self._options.max_rows, TOKENS_PER_REQUEST):
            indices = [order[place] for place in places]
            yield RequestRows(indices, pack_rows([self._rows[index] for index in indices]))


class CountingEncoder(AsyncSentenceEncoder):
    """`AsyncSentenceEncoder` with methods for the gateway."""

    def __init__(self, url: str | None = None, **settings: Unpack[Settings]) -> None:
        super().__init__(url, **settings)
        self._reading = Kept(self._read)

    async def served_now(self) -> Manifest:
        """The manifest, read again if it is older than a second. Later calls use its model."""
        await self._reading.get()
        return self.manifest

    async def embed(
        self,
        rows: list[str] | list[list[int]],
        *,
        prompt_name: str | None = None,
        truncate_dim: int | None = None,
        normalize_embeddings: bool = False,
    ) -> tuple[NDArray[np.float32], int, Manifest]:
        """Embed texts like `encode`, or token ids. Returns the vectors, float32 [rows, dimension], the number of tokens
        and the model's manifest.
        """
        arguments: AnyArguments = {"truncate_dim": truncate_dim, "normalize_embeddings": normalize_embeddings}
        call: CountedCall
        if rows and not isinstance(rows[0], str):
            if prompt_name is not None:
                raise InvalidInput(f"prompt_name is {prompt_name!r} for token arrays; send text, or leave it out")
            call = TokensCall(self._session, rows, arguments)
        else:
            call = CountedCall(self._session, cast("list[str]", rows), prompt_name, None, arguments)
        try:
            embeddings = await self._encode(call)
        except ContractMismatch:
            with suppress(SentritonError):
                await self._reload(call.model, call.deadline)  # for later calls
            raise
        return cast("NDArray[np.float32]", embeddings), call.tokens, call.model.manifest

    async def _read(self) -> None:
        await self.connect()
        await self._reload(self._session.model, self._session.deadline(_READING_TIMEOUT_S))
