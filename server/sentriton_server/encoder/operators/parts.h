// The parts of a layer and of its work, for all instruction sets.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace sentriton {

enum class Kind { fp32, bf16, int8 };

// The bytes of a weight's number.
constexpr int64_t bytes_of(Kind kind) { return kind == Kind::fp32 ? 4 : kind == Kind::bf16 ? 2 : 1; }

// The numbers of a weight in a word of 4 bytes. They are adjacent for each output.
constexpr int64_t group_of(Kind kind) { return 4 / bytes_of(kind); }

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  // The `index`-th of `count` parts of similar size, divided at multiples of `unit`.
  Range part(int64_t index, int64_t count, int64_t unit = 1) const {
    const int64_t units = (size() + unit - 1) / unit;
    const auto cut = [&](int64_t at) { return std::min(end, begin + units * at / count * unit); };
    return {cut(index), cut(index + 1)};
  }
};

// One turn of a thread: a share of the outputs of some tokens. Its buffers are its own unless threads share the
// outputs.
struct Turn {
  Range tokens;
  int64_t share, shares, buffer;
  Range own_tokens() const { return tokens.part(share, shares); }
};

struct Linear {
  const float *weight, *bias, *scales, *row_sums;
  int64_t width, height;
  Kind kind;
};

struct Norm {
  const float *weight, *bias;
};

struct Layer {
  Linear query_key_value, attention_output, intermediate, output;
  Norm attention_norm, output_norm;
  float eps;
};

// A product's input: `numbers` [tokens, stride] words of 4 bytes; with 8 bits, a token is low + scale * number.
struct Input {
  float *numbers, *scale, *low;
  int64_t stride;
};

// The destination of a product's outputs: that of token 0, and the distance between tokens.
struct Output {
  float* to;
  int64_t stride;
};

struct Rows {
  const int64_t* starts;  // the first token of each row, and the end of the last
  int64_t count;
  int64_t end() const { return starts[count]; }
};

struct Heads {
  float* query_key_value;  // [3, heads, tokens, size]
  int64_t count, size;
};

// The bias of a head's scores by the distance between key and query, shared by all layers.
struct DistanceBias {
  const float* data;  // [heads, 2 * far + 1]: for distances -far to far; the outer values also apply beyond
  int64_t far;        // 0 without a bias
};

// The largest score of a query so far, and the sum of e^(scale * (score - most)) over its scores.
struct Met {
  float most, sum;
};

// float32 [tokens, width] of a block, or of a turn's tokens in its buffer; indexed by the block's tokens in both cases.
struct Values {
  float* data;
  int64_t width, buffer_tokens;
  float* of(const Turn& turn) const {
    return buffer_tokens ? data + (turn.buffer * buffer_tokens - turn.tokens.begin) * width : data;
  }
};

}  // namespace sentriton
