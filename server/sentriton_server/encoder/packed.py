"""A BERT-like encoder that runs on the tokens alone.

The module takes what Triton's ragged batching hands over: the elements of every request's rows, one behind the other in
one-dimensional tensors, and the length of each row. Padding never enters it: masked tokens are dropped, and the
projections and feed-forward layers, which are almost all of the work, run on `[tokens, hidden]`. Rows are taken in
order of length, in steps of at most `tokens_per_step` tokens; only attention pads the rows of a step, on a CPU each by
its own length. All that happens to a row on a CPU is independent of the rows beside it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from sentriton_server.encoder.attention import Attention, Layout, lay_out

# Bounds the memory of a step whatever a batch holds. On a CPU it keeps activations near the caches, 256 tokens of a
# width of 1,024: the kernels are at their full rate from some 64 tokens on. A narrow model takes more tokens, since
# what an operation costs before it computes anything weighs as much as the operation.
_NUMBERS_PER_STEP = 256 * 1024
_MOST_TOKENS_PER_STEP = 1024
# The kernels of oneDNN are made anew for every number of tokens that is not among the last few hundred (half a
# millisecond each), so that there are few: steps are filled up with rows that nobody reads.
_WHOLE = 8
# A GPU wants everything that a batch of ordinary sentences holds at once.
TOKENS_PER_STEP_ON_GPU = 8192

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")


def tokens_per_step(hidden_size: int) -> int:
    """The most tokens that a step has on a CPU, but for a single row that is longer."""
    return min(_MOST_TOKENS_PER_STEP, _NUMBERS_PER_STEP // hidden_size)


class PackedLayer(nn.Module):
    """One transformer layer, post-norm as in BERT, with the three attention projections fused."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: str, eps: float) -> None:
        super().__init__()
        self.activation = activation
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.attention = Attention()
        self.attention_output = nn.Linear(hidden_size, hidden_size)
        self.attention_norm = nn.LayerNorm(hidden_size, eps=eps)
        self.intermediate = nn.Linear(hidden_size, intermediate_size)
        self.output = nn.Linear(intermediate_size, hidden_size)
        self.output_norm = nn.LayerNorm(hidden_size, eps=eps)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """`hidden` [tokens and filling, hidden]."""
        context = self.attention(self.query_key_value(hidden), layout)
        hidden = self.attention_norm(hidden + self.attention_output(context))
        return self.output_norm(hidden + self.output(self.activate(self.intermediate(hidden))))

    def activate(self, hidden: Tensor) -> Tensor:
        if self.activation == "gelu":
            return F.gelu(hidden)
        if self.activation == "relu":
            return F.relu(hidden)
        return F.gelu(hidden, approximate="tanh")


class PackedEncoder(nn.Module):
    """Token embeddings of ragged rows; a BERT, RobertaModel or XLMRobertaModel without its pooler."""

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int,
        intermediate_size: int,
        num_layers: int,
        num_heads: int,
        num_positions: int,
        max_seq_length: int,
        pad_token_id: int,
        positions_follow_padding_id: bool,
        activation: str,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.max_seq_length = max_seq_length
        self.pad_token_id = pad_token_id
        self.positions_follow_padding_id = positions_follow_padding_id
        self.tokens_per_step = tokens_per_step(hidden_size)
        self.filled_up_to = _WHOLE
        self.word_embeddings = nn.Embedding(vocab_size, hidden_size)
        self.position_embeddings = nn.Embedding(num_positions, hidden_size)
        self.embedding_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.layers = nn.ModuleList(
            PackedLayer(hidden_size, intermediate_size, activation, layer_norm_eps) for _ in range(num_layers)
        )

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, input_ids_lengths: Tensor, attention_mask_lengths: Tensor
    ) -> Tensor:
        """Token embeddings, one row for each element of `input_ids`, in its order.

        `input_ids` and `attention_mask` [elements] int64, the rows of all requests concatenated; mask 0 = padding, 1
        and 2 = attend. `input_ids_lengths` and `attention_mask_lengths` [rows, 1] int32: the length of each row in
        either. Returns [elements, hidden]: zero where the mask is 0, and NaN in every row that is not valid (an id
        outside the vocabulary, longer than `max_seq_length`, a mask of another length or with other values, nothing
        attended). Such rows are not computed and change nothing for the others.
        """
        ids = input_ids.flatten()
        lengths = input_ids_lengths.flatten().to(torch.int64)
        row = torch.repeat_interleave(
            torch.arange(lengths.size(0), device=ids.device), lengths, output_size=ids.size(0)
        )
        start = lengths.cumsum(0) - lengths
        place = torch.arange(ids.size(0), device=ids.device) - start[row]
        mask = self.align_mask(attention_mask.flatten(), attention_mask_lengths.flatten().to(torch.int64), row, place)

        mismatched = lengths != attention_mask_lengths.flatten()
        valid = self.valid_rows(ids, mask, row, lengths) & ~mismatched
        attended = (mask > 0) & valid[row]
        positions = self.position_ids(ids, row, start, place)

        token_embeddings = torch.zeros(
            [ids.size(0), self.hidden_size], dtype=self.embedding_norm.weight.dtype, device=ids.device
        )
        self.encode_rows(ids, positions, attended, row, lengths.size(0), token_embeddings)
        if not bool(valid.all()):
            token_embeddings[~valid[row]] = float("nan")
        return token_embeddings

    def align_mask(self, mask: Tensor, mask_lengths: Tensor, row: Tensor, place: Tensor) -> Tensor:
        """The mask value of each id. Masks are split by their own lengths, so that one of another length than its ids
        cannot shift the rows behind it; what such a row gets here does not matter, it is refused."""
        mask_start = mask_lengths.cumsum(0) - mask_lengths
        at_least_one = F.pad(mask, [0, 1])
        return at_least_one[(mask_start[row] + place).clamp(max=mask.size(0))]

    def valid_rows(self, ids: Tensor, mask: Tensor, row: Tensor, lengths: Tensor) -> Tensor:
        wrong = (ids < 0) | (ids >= self.vocab_size) | (mask < 0) | (mask > 2)
        wrong_in_row = torch.zeros_like(lengths).index_add_(0, row, wrong.to(torch.int64))
        attended_in_row = torch.zeros_like(lengths).index_add_(0, row, (mask > 0).to(torch.int64))
        return (wrong_in_row == 0) & (attended_in_row > 0) & (lengths <= self.max_seq_length)

    def position_ids(self, ids: Tensor, row: Tensor, start: Tensor, place: Tensor) -> Tensor:
        if not self.positions_follow_padding_id:
            return place
        counted = (ids != self.pad_token_id).to(torch.int64)
        before = F.pad(counted.cumsum(0), [1, 0])
        return (before[1:] - before[start[row]]) * counted + self.pad_token_id

    def encode_rows(
        self, ids: Tensor, positions: Tensor, attended: Tensor, row: Tensor, rows: int, token_embeddings: Tensor
    ) -> None:
        """Fill `token_embeddings` [elements, hidden] where `attended` [elements] is true, longest rows first."""
        row_tokens = torch.zeros([rows], dtype=torch.int64, device=ids.device)
        row_tokens.index_add_(0, row, attended.to(torch.int64))
        row_tokens, order = row_tokens.sort(descending=True, stable=True)
        rank = order.argsort()
        element = attended.nonzero().flatten()
        element = element[rank[row[element]].argsort(stable=True)]

        lengths: list[int] = row_tokens.tolist()
        first_row, first_token = 0, 0
        while first_row < rows and lengths[first_row] > 0:
            end_row, end_token = first_row + 1, first_token + lengths[first_row]
            while (
                end_row < rows
                and lengths[end_row] > 0
                and end_token + lengths[end_row] - first_token <= self.tokens_per_step
            ):
                end_token += lengths[end_row]
                end_row += 1
            chosen = element[first_token:end_token]
            hidden = self.encode_step(ids[chosen], positions[chosen], lengths[first_row:end_row])
            token_embeddings.index_copy_(0, chosen, hidden.to(token_embeddings.dtype))
            first_row, first_token = end_row, end_token

    def encode_step(self, ids: Tensor, positions: Tensor, lengths: list[int]) -> Tensor:
        """`ids` and `positions` [tokens], row by row; `lengths`: the tokens of each row, longest first."""
        filling = -ids.size(0) % self.filled_up_to
        layout = lay_out(lengths, filling, self.num_heads, ids.device)
        hidden = self.embedding_norm(self.word_embeddings(ids) + self.position_embeddings(positions))
        hidden = F.pad(hidden, [0, 0, 0, filling])
        for layer in self.layers:
            hidden = layer(hidden, layout)
        return hidden[: ids.size(0)]
