// A linear layer with the steps before and after its product, and the norm, for some of the tokens.
#pragma once

#include "vectors.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")

namespace sentriton {

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

// A product's input: `numbers` [tokens, stride] groups of 4 bytes; with 8 bits, a token is low + scale * number.
struct Input {
  float *numbers, *scale, *low;
  int64_t stride;
};

// Converts float32 [tokens, width] to the input of products of `kind`.
template <Kind kind>
void prepare(const float* values, int64_t width, Range tokens, Input input) {
  for (int64_t token = tokens.begin; token < tokens.end; token++) {
    const float* from = values + token * width;
    char* to = (char*)(input.numbers + token * input.stride);
    if constexpr (kind == Kind::bf16) {
      for (int64_t at = 0; at < width; at += kLanes)
        _mm256_storeu_si256((__m256i*)(to + 2 * at), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + at)));
    } else if constexpr (kind == Kind::int8) {
      auto least = _mm512_loadu_ps(from), most = least;
      for (int64_t at = kLanes; at < width; at += kLanes) {
        const auto value = _mm512_loadu_ps(from + at);
        least = _mm512_min_ps(least, value), most = _mm512_max_ps(most, value);
      }
      const float low = _mm512_reduce_min_ps(least), extent = _mm512_reduce_max_ps(most) - low;
      const auto lows = constant(low), inverse = constant(255.0f / (extent + 1e-8f));
      for (int64_t at = 0; at < width; at += kLanes) {
        const auto number = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(from + at), lows), inverse);
        _mm_storeu_si128((__m128i*)(to + at), _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(number)));
      }
      input.scale[token] = extent / 255.0f, input.low[token] = low;
    }
  }
}

// The destination of a product's outputs: that of token 0, and the distance between tokens.
struct Output {
  float* to;
  int64_t stride;
};

// Computes the linear layer for a turn's tokens and share of the outputs. `place(output)` returns the destination of 32
// outputs, and `finish(to, values)` stores 16 of them.
template <Kind kind, class Place, class Finish>
void apply(const Linear& linear, Input input, const Turn& turn, Place place, Finish finish) {
  alignas(64) float sums[kTileTokens * kPanel];
  const int64_t groups = linear.width / kGroup<kind>;
  const auto outputs = Range{0, linear.height}.part(turn.share, turn.shares, kPanel);
  const int64_t tiles = (turn.tokens.size() + kTileTokens - 1) / kTileTokens;
  for (int64_t output = outputs.begin; output < outputs.end; output += kPanel) {
    const Output target = place(output);
    const float* panel = linear.weight + output * groups;
    // Prefetches the next panel in even steps while this one is multiplied.
    const int64_t step = (kPanel + tiles - 1) / tiles;
    const float* ahead = panel + groups * kPanel;
    for_tiles(turn.tokens, [&](Range tokens) {
      for (int64_t token = tokens.begin; token < tokens.end; token++)
        for (int64_t part = 0; part < kPanel; part += kLanes)
          _mm_prefetch((const char*)(target.to + token * target.stride + part), _MM_HINT_T0);
      kTiles<kind>[tokens.size() - 1](input.numbers + tokens.begin * input.stride, input.stride,
                                      panel, kPanel, groups, sums, kPanel, ahead, step);
      ahead += groups * step;
      for (int64_t part = 0; part < kPanel; part += kLanes) {
        const auto bias = _mm512_loadu_ps(linear.bias + output + part);
        auto scales = bias, row_sums = bias;
        if constexpr (kind == Kind::int8) {
          scales = _mm512_loadu_ps(linear.scales + output + part);
          row_sums = _mm512_loadu_ps(linear.row_sums + output + part);
        }
        for (int64_t token = tokens.begin; token < tokens.end; token++) {
          auto value = _mm512_load_ps(sums + (token - tokens.begin) * kPanel + part);
          if constexpr (kind == Kind::int8) {
            const auto offset = _mm512_fmadd_ps(constant(input.low[token]), row_sums, bias);
            const auto scale = _mm512_mul_ps(constant(input.scale[token]), scales);
            value = _mm512_fmadd_ps(_mm512_cvtepi32_ps((__m512i)value), scale, offset);
          } else {
            value = _mm512_add_ps(value, bias);
          }
          finish(target.to + token * target.stride + part, value);
        }
      }
    });
  }
}

void normalize(const Norm& norm, float eps, float* values, int64_t width, Range tokens) {
  for (int64_t token = tokens.begin; token < tokens.end; token++) {
    float* own = values + token * width;
    auto sum = _mm512_setzero_ps(), squares = sum;
    for (int64_t at = 0; at < width; at += kLanes) sum = _mm512_add_ps(sum, _mm512_loadu_ps(own + at));
    const auto mean = constant(_mm512_reduce_add_ps(sum) / width);
    for (int64_t at = 0; at < width; at += kLanes) {
      const auto distance = _mm512_sub_ps(_mm512_loadu_ps(own + at), mean);
      squares = _mm512_fmadd_ps(distance, distance, squares);
    }
    const auto factor = constant(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / width + eps));
    for (int64_t at = 0; at < width; at += kLanes) {
      const auto value = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(own + at), mean), factor);
      const auto weight = _mm512_loadu_ps(norm.weight + at), bias = _mm512_loadu_ps(norm.bias + at);
      _mm512_storeu_ps(own + at, _mm512_fmadd_ps(value, weight, bias));
    }
  }
}

}  // namespace sentriton

#pragma GCC pop_options
