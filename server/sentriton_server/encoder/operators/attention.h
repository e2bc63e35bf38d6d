// Attention within rows of any length. It reads queries, keys and values in the layout of the product's output.

// Replaces scores by e^(scale * (scores - most)).
Met softmax(float* scores, int64_t length, float scale) {
  auto highest = constant(-INFINITY), sum = constant(0.0f);
  for (int64_t at = 0; at < length; at += kLanes)
    highest = greater(highest, load(scores + at), first_lanes(length - at));
  const float most = greatest(highest);
  for (int64_t at = 0; at < length; at += kLanes) {
    const auto weight = exponential((load(scores + at) - constant(most)) * constant(scale));
    store(scores + at, weight);
    sum = add(sum, weight, first_lanes(length - at));
  }
  return {most, total(sum)};
}

// Copies `keys` [length, size] to panels of keys, [size, kPanel] each. After the last key, values are finite but
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

// Fills `to` with the bias of a head, times `factor`, for a row of this length. Index: length - 1 + key - query.
inline void spread(const DistanceBias& bias, int64_t head, int64_t length, float factor, std::vector<float>& to) {
  to.resize(std::max<int64_t>(to.size(), 2 * length - 1 + kLanes));  // `add` reads beyond the end
  const float* middle = bias.data + head * (2 * bias.far + 1) + bias.far;
  for (int64_t distance = 1 - length; distance < length; distance++)
    to[length - 1 + distance] = factor * middle[std::clamp(distance, -bias.far, bias.far)];
}

// Adds the bias of one query, from its first key.
void add(float* scores, int64_t length, const float* bias) {
  for (int64_t at = 0; at < length; at += kLanes) store(scores + at, load(scores + at) + load(bias + at));
}

// Computes the context [tokens, hidden] of a turn's tokens, for its share of the heads. In a long row, all queries
// process one block of keys after the other. The context of earlier blocks is rescaled to the new maximum.
void attend(const Heads& heads, const Rows& rows, const DistanceBias& bias, const Turn& turn, float* context) {
  const int64_t hidden = heads.count * heads.size, of_head = rows.end() * heads.size;
  const float scale = 1.0f / std::sqrt((float)heads.size);
  const auto own_heads = Range{0, heads.count}.part(turn.share, turn.shares);
  std::vector<float> keys(kKeyBlock * heads.size), scores(kTileTokens * kKeyBlock), sums(kTileTokens * heads.size), biases;
  std::vector<Met> met(turn.tokens.size());
  int64_t row = std::upper_bound(rows.starts, rows.starts + rows.count, turn.tokens.begin) - rows.starts - 1;
  for (; row < rows.count && rows.starts[row] < turn.tokens.end; row++) {
    const int64_t start = rows.starts[row], length = rows.starts[row + 1] - start;
    const Range queries{std::max(start, turn.tokens.begin), std::min(start + length, turn.tokens.end)};
    for (int64_t head = own_heads.begin; head < own_heads.end; head++) {
      const float* query = heads.query_key_value + head * of_head;
      const float* key = query + heads.count * of_head + start * heads.size;
      const float* value = key + heads.count * of_head;
      if (bias.far) spread(bias, head, length, 1.0f / scale, biases);
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
            if (bias.far) add(own_scores, count, biases.data() + length - 1 + first - (tokens.begin + at - start));
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
              auto sum = load(sums.data() + at * heads.size + element) * constant(now[at]);
              if (first) sum = multiply_add(load(those), constant(before[at]), sum);
              store(those, sum);
            }
        });
      }
    }
  }
}
