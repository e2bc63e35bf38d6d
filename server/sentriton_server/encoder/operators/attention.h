// Attention within rows of any length. It reads queries, keys and values in the layout of the product's output.
#pragma once

#include <vector>

#include "products.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")

namespace sentriton {

constexpr int64_t kKeyBlock = 512;  // keys whose panels and values fit the second-level cache

// The largest score of a query so far, and the sum of e^(scale * (score - most)) over its scores.
struct Met {
  float most, sum;
};

// Replaces scores by e^(scale * (scores - most)).
Met softmax(float* scores, int64_t length, float scale) {
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
  return {_mm512_cvtss_f32(most), _mm512_reduce_add_ps(sum)};
}

// Copies `keys` [length, size] to panels of 32 keys, [size, 32] each. After the last key, values are finite but
// arbitrary.
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

// The bias of a head's scores by the distance between key and query, shared by all layers.
struct DistanceBias {
  const float* data;  // [heads, 2 * far + 1]: for distances -far to far; the outer values also apply beyond
  int64_t far;        // 0 without a bias

  // Fills `to` with the bias of a head, times `factor`, for a row of this length. Index: length - 1 + key - query.
  void spread(int64_t head, int64_t length, float factor, std::vector<float>& to) const {
    to.resize(std::max<int64_t>(to.size(), 2 * length - 1 + kLanes));  // `add` reads beyond the end
    const float* middle = data + head * (2 * far + 1) + far;
    for (int64_t distance = 1 - length; distance < length; distance++)
      to[length - 1 + distance] = factor * middle[std::clamp(distance, -far, far)];
  }
};

// Adds the bias of one query, from its first key.
void add(float* scores, int64_t length, const float* bias) {
  for (int64_t at = 0; at < length; at += kLanes)
    _mm512_storeu_ps(scores + at, _mm512_add_ps(_mm512_loadu_ps(scores + at), _mm512_loadu_ps(bias + at)));
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

// Computes the context [tokens, hidden] of a turn's tokens, for its share of the heads. In a long row, all queries
// process one block of keys after the other. The context of earlier blocks is rescaled to the new maximum.
void attend(const Heads& heads, const Rows& rows, const DistanceBias& bias, const Turn& turn, float* context) {
  const int64_t hidden = heads.count * heads.size, of_head = rows.end() * heads.size;
  const float scale = 1.0f / std::sqrt((float)heads.size);
  const auto own_heads = Range{0, heads.count}.part(turn.share, turn.shares);
  std::vector<float> keys(kKeyBlock * heads.size), scores(kTileTokens * kKeyBlock), sums(kTileTokens * heads.size), spread;
  std::vector<Met> met(turn.tokens.size());
  int64_t row = std::upper_bound(rows.starts, rows.starts + rows.count, turn.tokens.begin) - rows.starts - 1;
  for (; row < rows.count && rows.starts[row] < turn.tokens.end; row++) {
    const int64_t start = rows.starts[row], length = rows.starts[row + 1] - start;
    const Range queries{std::max(start, turn.tokens.begin), std::min(start + length, turn.tokens.end)};
    for (int64_t head = own_heads.begin; head < own_heads.end; head++) {
      const float* query = heads.query_key_value + head * of_head;
      const float* key = query + heads.count * of_head + start * heads.size;
      const float* value = key + heads.count * of_head;
      if (bias.far) bias.spread(head, length, 1.0f / scale, spread);
      for (int64_t first = 0; first < length; first += kKeyBlock) {
        const int64_t count = std::min(length - first, kKeyBlock), padded = (count + kPanel - 1) / kPanel * kPanel;
        const bool is_last = first + count == length;
        order_keys(key + first * heads.size, count, heads.size, keys.data());
        for_tiles(queries, [&](Range tokens) {
          // Meanwhile the next head's parts are prefetched.
          const int64_t ahead = of_head + (tokens.begin - queries.begin) * heads.size;
          const auto kernel = kTiles<Kind::fp32>[tokens.size() - 1];
          for (int64_t at = 0; at < padded; at += kPanel)
            kernel(query + tokens.begin * heads.size, heads.size, keys.data() + at * heads.size, kPanel, heads.size,
                   scores.data() + at, padded, key + ahead, kLanes);
          float before[kTileTokens], now[kTileTokens];  // factors of the earlier context and of this block's
          for (int64_t at = 0; at < tokens.size(); at++) {
            float* own_scores = scores.data() + at * padded;
            if (bias.far) add(own_scores, count, spread.data() + length - 1 + first - (tokens.begin + at - start));
            const Met found = softmax(own_scores, count, scale);
            Met& all = met[tokens.begin + at - turn.tokens.begin];
            before[at] = 0.0f, now[at] = 1.0f;
            if (first) {
              const float most = std::max(all.most, found.most);
              before[at] = std::exp(scale * (all.most - most)), now[at] = std::exp(scale * (found.most - most));
              all = {most, before[at] * all.sum + now[at] * found.sum};
            } else {
              all = found;
            }
            if (is_last) before[at] /= all.sum, now[at] /= all.sum;
          }
          for (int64_t element = 0; element < heads.size; element += kPanel)
            kernel(scores.data(), padded, value + first * heads.size + element, heads.size, count,
                   sums.data() + element, heads.size, (element ? query + start * heads.size : value) + ahead, kLanes);
          float* to = context + tokens.begin * hidden + head * heads.size;
          for (int64_t at = 0; at < tokens.size(); at++)
            for (int64_t element = 0; element < heads.size; element += kLanes) {
              float* those = to + at * hidden + element;
              auto sum = _mm512_mul_ps(_mm512_loadu_ps(sums.data() + at * heads.size + element), constant(now[at]));
              if (first) sum = _mm512_fmadd_ps(_mm512_loadu_ps(those), constant(before[at]), sum);
              _mm512_storeu_ps(those, sum);
            }
        });
      }
    }
  }
}

}  // namespace sentriton

#pragma GCC pop_options
