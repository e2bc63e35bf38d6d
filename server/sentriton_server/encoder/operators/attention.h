// Attention within rows of any length, on queries, keys and values where the product left them.
#pragma once

#include <vector>

#include "products.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")

namespace sentriton {

// scores become e^(scale * (scores - maximum)); returns 1 / their sum.
float softmax(float* scores, int64_t length, float scale) {
  const auto mask = [&](int64_t at) { return __mmask16(length - at >= kLanes ? 0xffff : (1 << (length - at)) - 1); };
  auto most = constant(-INFINITY), sum = _mm512_setzero_ps();
  for (int64_t at = 0; at < length; at += kLanes)
    most = _mm512_mask_max_ps(most, mask(at), most, _mm512_loadu_ps(scores + at));
  most = constant(_mm512_reduce_max_ps(most));
  for (int64_t at = 0; at < length; at += kLanes) {
    const auto distance = _mm512_sub_ps(_mm512_loadu_ps(scores + at), most);
    const auto weight = exponential(_mm512_mul_ps(distance, constant(scale)));
    _mm512_storeu_ps(scores + at, weight);
    sum = _mm512_mask_add_ps(sum, mask(at), sum, weight);
  }
  return 1.0f / _mm512_reduce_add_ps(sum);
}

// `keys` [length, size] to panels of 32 keys, [size, 32] each; behind the last key stands anything finite.
void order_keys(const float* keys, int64_t length, int64_t size, float* panels) {
  for (int64_t at = 0; at < length; at += 4) {
    const auto key = [&](int64_t number) { return keys + std::min(at + number, length - 1) * size; };
    float* panel = panels + at / kPanel * kPanel * size + at % kPanel;
    for (int64_t element = 0; element < size; element += 4) {
      auto a = _mm_loadu_ps(key(0) + element), b = _mm_loadu_ps(key(1) + element);
      auto c = _mm_loadu_ps(key(2) + element), d = _mm_loadu_ps(key(3) + element);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      _mm_storeu_ps(panel + element * kPanel, a), _mm_storeu_ps(panel + (element + 1) * kPanel, b);
      _mm_storeu_ps(panel + (element + 2) * kPanel, c), _mm_storeu_ps(panel + (element + 3) * kPanel, d);
    }
  }
}

struct Rows {
  const int64_t* starts;  // the first token of each row, and the end of the last
  int64_t count;
  int64_t end() const { return starts[count]; }
};

struct Heads {
  float* query_key_value;  // [3, heads, tokens, size]
  int64_t count, size;
};

// context [tokens, hidden] of a turn's tokens, of its share of the heads.
void attend(const Heads& heads, const Rows& rows, const Turn& turn, float* context) {
  const int64_t hidden = heads.count * heads.size, of_head = rows.end() * heads.size;
  const float scale = 1.0f / std::sqrt((float)heads.size);
  const auto own = Range{0, heads.count}.part(turn.share, turn.shares);
  std::vector<float> keys, scores;
  int64_t row = std::upper_bound(rows.starts, rows.starts + rows.count, turn.tokens.begin) - rows.starts - 1;
  for (; row < rows.count && rows.starts[row] < turn.tokens.end; row++) {
    const int64_t start = rows.starts[row], length = rows.starts[row + 1] - start;
    const int64_t padded = (length + kPanel - 1) / kPanel * kPanel;
    const Range queries{std::max(start, turn.tokens.begin), std::min(start + length, turn.tokens.end)};
    keys.resize(std::max<int64_t>(keys.size(), padded * heads.size));
    scores.resize(std::max<int64_t>(scores.size(), kTileTokens * padded));
    for (int64_t head = own.begin; head < own.end; head++) {
      const float* query = heads.query_key_value + head * of_head;
      const float* key = query + heads.count * of_head + start * heads.size;
      const float* value = key + heads.count * of_head;
      order_keys(key, length, heads.size, keys.data());
      for_tiles(queries, [&](Range tokens) {
        // The next head's parts come from memory meanwhile.
        const int64_t ahead = of_head + (tokens.begin - queries.begin) * heads.size;
        const auto kernel = kTiles<Kind::fp32>[tokens.size() - 1];
        for (int64_t at = 0; at < padded; at += kPanel)
          kernel(query + tokens.begin * heads.size, heads.size, keys.data() + at * heads.size, kPanel, heads.size,
                 scores.data() + at, padded, key + ahead, kLanes);
        float factors[kTileTokens];
        for (int64_t at = 0; at < tokens.size(); at++)
          factors[at] = softmax(scores.data() + at * padded, length, scale);
        float* to = context + tokens.begin * hidden + head * heads.size;
        for (int64_t element = 0; element < heads.size; element += kPanel)
          kernel(scores.data(), padded, value + element, heads.size, length, to + element, hidden,
                 (element ? query + start * heads.size : value) + ahead, kLanes);
        for (int64_t at = 0; at < tokens.size(); at++)
          for (int64_t element = 0; element < heads.size; element += kLanes) {
            float* those = to + at * hidden + element;
            _mm512_storeu_ps(those, _mm512_mul_ps(_mm512_loadu_ps(those), constant(factors[at])));
          }
      });
    }
  }
}

}  // namespace sentriton

#pragma GCC pop_options
