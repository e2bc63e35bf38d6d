"""An encoder without padding.

The input is packed rows: the tokens of all rows in one tensor, and the row number of each token. The projections and
feed-forward layers, which are almost all of the work, run on `[tokens, hidden]`. The module sorts rows by length and
computes them in token blocks of at most `block_tokens` tokens. Only attention pads rows, on a CPU each row by its own
length. On a CPU, the result of a row is independent of the other rows.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from sentriton_server.encoder.attention import lay_out, lay_out_ragged
from sentriton_server.encoder.layers import make_layers
from sentriton_server.encoder.linear import operators_suit
from sentriton_server.encoder.positions import NotRotary, Rotary, TypeEmbedding
from sentriton_server.encoder.ragged import PADDED, kernel_here
from sentriton_server.encoder.shape import EncoderShape

# Bounds the memory of a token block for batches of any size. On a CPU, activations stay in the caches: 256 tokens at a
# width of 1,024. The kernels reach their full rate at about 64 tokens. A narrow model has blocks of more tokens,
# because the fixed cost of an operation is as high as its computation.
_MAX_BLOCK_ACTIVATIONS = 256 * 1024
_MAX_BLOCK_TOKENS = 1024
# oneDNN generates a kernel for each new number of tokens (half a millisecond) and caches a few hundred. Unused rows
# fill each block to a multiple of this, so that only a few numbers occur.
BLOCK_MULTIPLE_TOKENS = 8
# On a GPU, a batch of ordinary sentences is fastest in one block.
GPU_BLOCK_TOKENS = 8192


def cpu_block_tokens(hidden_size: int) -> int:
    """The largest number of tokens of a block on a CPU. Only a single longer row may exceed it."""
    return min(_MAX_BLOCK_TOKENS, _MAX_BLOCK_ACTIVATIONS // hidden_size)


class LastLayer(nn.Module):
    """Returns the last layer's output as token embeddings."""

    __constants__: ClassVar = ["of_all"]

    def __init__(self) -> None:
        super().__init__()
        self.of_all = False

    def begin(self, hidden: Tensor) -> Tensor:
        return hidden

    def add(self, mixed: Tensor, hidden: Tensor, number: int) -> Tensor:
        return hidden


class LayerMix(nn.Module):
    """Returns the weighted sum of all outputs as token embeddings. `weights` [layers + 1], the embeddings' first."""

    __constants__: ClassVar = ["of_all"]

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.of_all = True
        self.weights = nn.Parameter(torch.empty(layers + 1))

    def begin(self, hidden: Tensor) -> Tensor:
        return torch.zeros_like(hidden)

    def add(self, mixed: Tensor, hidden: Tensor, number: int) -> Tensor:
        return mixed + hidden * self.weights[number]


class Projection(nn.Module):
    """Projects embeddings to the width of the layers, as in ELECTRA. Tokens are filled up as in a block."""

    __constants__: ClassVar = ["multiple"]

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.multiple = BLOCK_MULTIPLE_TOKENS
        self.linear = nn.Linear(embedding_size, hidden_size)

    def forward(self, embeddings: Tensor) -> Tensor:
        filled = F.pad(embeddings, [0, 0, 0, -embeddings.size(0) % self.multiple])
        projected: Tensor = self.linear(filled)
        return projected[: embeddings.size(0)]


class PackedEncoder(nn.Module):
    """Computes the token embeddings of ragged rows: an encoder of transformers without its pooler.

    `operators`: the module is for Sentriton's operators, which the process must have loaded. It calls them if the
    processor supports its `weights`. `mixed`: some of these are in bfloat16. `mixes_layers`: the output is a mix of
    the outputs of all layers.
    """

    __constants__: ClassVar = ["operators", "mixed"]

    def __init__(self, shape: EncoderShape, mixes_layers: bool = False) -> None:
        super().__init__()
        self.operators = False
        self.mixed = False
        self.weights = torch.float32
        self.vocab_size = shape.vocab_size
        self.hidden_size = shape.hidden_size
        self.intermediate_size = shape.intermediate_size
        self.num_heads = shape.num_heads
        self.max_seq_length = shape.max_seq_length
        self.pad_token_id = shape.pad_token_id
        self.positions_follow_padding_id = shape.positions_follow_padding_id
        self.beyond_operators = shape.beyond_operators
        self.key = 0  # an export sets a secret key, which every request must have
        self.block_tokens = cpu_block_tokens(shape.hidden_size)
        self.block_multiple = BLOCK_MULTIPLE_TOKENS
        # A kernel of ragged.py and its device. An export for a GPU sets both.
        self.kernel = PADDED
        self.kernel_device = "cuda"
        self.output_dtype = torch.float32
        width, hidden, eps = shape.embedding_size, shape.hidden_size, shape.layer_norm_eps
        self.word_embeddings = nn.Embedding(shape.vocab_size, width)
        self.position_embeddings = (
            nn.Embedding(shape.num_positions, width) if shape.num_positions else TypeEmbedding(width)
        )
        self.embedding_norm = nn.LayerNorm(width, eps=eps)
        self.projection = nn.Identity() if width == hidden else Projection(width, hidden)
        self.rotary = Rotary(shape.num_rotations, hidden // shape.num_heads) if shape.num_rotations else NotRotary()
        if shape.bias_distance:
            self.distance_bias: Tensor = nn.Parameter(torch.empty(shape.num_heads, 2 * shape.bias_distance + 1))
        else:  # one element, since torch cannot write an empty tensor into a pipe
            self.distance_bias = torch.zeros([1, 1], device="cpu")
        self.layers = make_layers(shape)
        self.last_norm = nn.LayerNorm(hidden, eps=eps) if shape.norm_first else nn.Identity()
        self.mix = LayerMix(len(shape.layers)) if mixes_layers else LastLayer()

    def forward(self, input_ids: Tensor, row: Tensor, key: Tensor) -> Tensor:
        """Token embeddings [tokens, hidden] of packed rows: all rows in order, without padding.

        `input_ids` and `row` int32 [tokens, 1] are each token's id and row number, from 0. All elements of `key` int64
        [tokens, 1] must be the module's key. Raises for another key, an id outside the vocabulary, rows not numbered
        0, 1, 2 and so on, or a row longer than `max_seq_length`. Each execution is one request, so an error affects
        only its caller.
        """
        ids = input_ids.flatten().to(torch.int64)
        rows = row.flatten().to(torch.int64)
        rise = torch.diff(rows, prepend=torch.full_like(rows[:1], -1))
        token = torch.arange(ids.size(0), device=ids.device)
        start = torch.where(rise > 0, token, 0).cummax(0)[0]  # the first token of each token's row
        num_rows, longest = self.check(ids, rows, rise, token - start, key.flatten())
        positions = self.position_ids(ids, start, token - start)
        kernel = self.kernel_of(ids.device)
        if kernel != "":
            # One block, and no further wait for the device.
            row_ends = torch.searchsorted(rows, torch.arange(num_rows + 1, device=ids.device), out_int32=True)
            lengths: list[int] = []
            return self.encode_block(ids, positions, lengths, row_ends, longest, kernel).to(self.output_dtype)
        return self.encode_rows(ids, positions, rows, torch.bincount(rows, minlength=num_rows))

    def kernel_of(self, device: torch.device) -> str:
        """The kernel for ragged rows on this device, or an empty string."""
        if self.kernel == "" or device.type != self.kernel_device:
            return ""
        shape = [1, self.num_heads, 16, self.hidden_size // self.num_heads]
        return kernel_here(self.kernel, torch.empty(shape, dtype=self.embedding_norm.weight.dtype, device=device))

    def check(self, ids: Tensor, rows: Tensor, rise: Tensor, place: Tensor, key: Tensor) -> tuple[int, int]:
        """Check the rows, and return their number and the length of the longest. Raises for invalid rows.

        `rise` [tokens] is the difference between a token's row number and the one before. `place` [tokens] is the
        token's place in its row. The results are read once, because on a GPU each reading waits for the device.
        """
        if ids.size(0) == 0:
            raise ValueError("no tokens; send at least one")
        faults: list[int] = torch.stack(
            [
                (key != self.key).any().to(torch.int64),
                ((ids < 0) | (ids >= self.vocab_size)).any().to(torch.int64),
                ((rise < 0) | (rise > 1)).any().to(torch.int64) + (rows[0] != 0).to(torch.int64),
                rows[-1] + 1,
                place.max() + 1,
            ]
        ).tolist()
        if faults[0] > 0:
            raise ValueError("the encoder answers embed_tokens alone; send the request to embed_tokens")
        if faults[1] > 0:
            raise ValueError("input_ids holds an id outside the vocabulary")
        if faults[2] > 0:
            raise ValueError("rows must be numbered 0, 1, 2 and so on, in this order")
        if faults[4] > self.max_seq_length:
            raise ValueError("a row is longer than max_seq_length")
        return faults[3], faults[4]

    def position_ids(self, ids: Tensor, start: Tensor, place: Tensor) -> Tensor:
        if not self.positions_follow_padding_id:
            return place
        counted = (ids != self.pad_token_id).to(torch.int64)
        before = F.pad(counted.cumsum(0), [1, 0])
        return (before[1:] - before[start]) * counted + self.pad_token_id

    def encode_rows(self, ids: Tensor, positions: Tensor, row: Tensor, row_tokens: Tensor) -> Tensor:
        """Compute token embeddings [tokens, hidden] in token blocks, longest rows first. `row_tokens` [rows] has the
        length of each row.
        """
        token_embeddings = torch.empty([ids.size(0), self.hidden_size], dtype=self.output_dtype, device=ids.device)
        row_tokens, order = row_tokens.sort(descending=True, stable=True)
        rank = order.argsort()
        element = rank[row].argsort(stable=True)

        most_tokens = self.block_tokens
        if self.operators:  # noqa: SIM102 - TorchScript looks up all names of an `and`, also those not loaded
            if operators_suit(self.weights, self.mixed):
                most_tokens = torch.ops.sentriton.block_tokens()
        lengths: list[int] = row_tokens.tolist()
        rows = len(lengths)
        first_row, first_token = 0, 0
        while first_row < rows:
            end_row, end_token = first_row + 1, first_token + lengths[first_row]
            while end_row < rows and end_token + lengths[end_row] - first_token <= most_tokens:
                end_token += lengths[end_row]
                end_row += 1
            chosen = element[first_token:end_token]
            block_lengths = lengths[first_row:end_row]
            hidden = self.encode_block(ids[chosen], positions[chosen], block_lengths, row_tokens, 0, "")
            token_embeddings.index_copy_(0, chosen, hidden.to(token_embeddings.dtype))
            first_row, first_token = end_row, end_token
        return token_embeddings

    def encode_block(
        self, ids: Tensor, positions: Tensor, lengths: list[int], row_ends: Tensor, longest: int, kernel: str
    ) -> Tensor:
        """Compute the token embeddings of one block. `ids` and `positions` [tokens] have the rows in order; `lengths`
        are their numbers of tokens, longest first. A `kernel` for ragged rows uses `row_ends` and `longest`, as in
        `Layout`.
        """
        hidden = self.embedding_norm(self.word_embeddings(ids) + self.position_embeddings(positions))
        hidden = self.projection(hidden)
        if self.operators:  # noqa: SIM102 - as in encode_rows
            if operators_suit(self.weights, self.mixed):
                return self.layers_by_operators(hidden, lengths)
        mixed: Tensor = self.mix.begin(hidden)
        filling = -ids.size(0) % self.block_multiple
        if kernel == "":
            layout = lay_out(lengths, filling, self.num_heads, ids.device)
        else:
            layout = lay_out_ragged(row_ends, longest, self.num_heads, kernel)
        rotations = self.rotary(positions, filling)
        hidden, mixed = F.pad(hidden, [0, 0, 0, filling]), F.pad(mixed, [0, 0, 0, filling])
        for number, layer in enumerate(self.layers):
            mixed = self.mix.add(mixed, hidden, number)
            hidden = layer(hidden, layout, rotations, self.distance_bias)
        mixed = self.mix.add(mixed, self.last_norm(hidden), len(self.layers))
        return mixed[: ids.size(0)]

    def layers_by_operators(self, hidden: Tensor, lengths: list[int]) -> Tensor:
        """All layers on `hidden` [tokens, hidden] float32, row by row, in place. Returns the token embeddings."""
        mixed: Tensor = self.mix.begin(hidden)
        parameters: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            mixed = self.mix.add(mixed, hidden, number)
            parameters += layer.for_operators()  # type: ignore[operator]
            # Threads meet at the end of a call: one for all layers, unless the mix needs the output of each.
            if self.mix.of_all or number + 1 == len(self.layers):
                eps, function = layer.attention_norm.eps, layer.activation.function  # type: ignore[union-attr]
                torch.ops.sentriton.layers(
                    hidden, parameters, lengths, self.num_heads, eps, function, self.distance_bias
                )
                parameters = []
        return self.mix.add(mixed, hidden, len(self.layers))
