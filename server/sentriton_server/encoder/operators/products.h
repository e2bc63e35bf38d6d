// A linear layer with the steps before and after its product, and the norm, for some of the tokens.

// Converts float32 [tokens, width] to the input of products of `kind`.
template <Kind kind>
void prepare(const float* values, int64_t width, Range tokens, Input input) {
  if constexpr (kTakesFloats<kind>) return;
  for (int64_t token = tokens.begin; token < tokens.end; token++) {
    const float* from = values + token * width;
    float* to = input.numbers + token * input.stride;
    if constexpr (kind == Kind::bf16) {
      for (int64_t at = 0; at < width; at += kLanes) store_numbers<kind>(to + at / group_of(kind), load(from + at));
    } else if constexpr (kind == Kind::int8) {
      auto lows = load(from), highs = lows;
      for (int64_t at = kLanes; at < width; at += kLanes) {
        const auto value = load(from + at);
        lows = lesser(lows, value), highs = greater(highs, value);
      }
      const float low = least(lows), extent = greatest(highs) - low;
      const auto inverse = constant(255.0f / (extent + 1e-8f));
      for (int64_t at = 0; at < width; at += kLanes)
        store_numbers<kind>(to + at / group_of(kind), (load(from + at) - constant(low)) * inverse);
      input.scale[token] = extent / 255.0f, input.low[token] = low;
    }
  }
}

// Computes the linear layer for a turn's tokens and share of the outputs. `place(output)` returns the destination of a
// panel's outputs, and `finish(to, values)` stores a register of them.
template <Kind kind, class Place, class Finish>
void apply(const Linear& linear, Input input, const Turn& turn, Place place, Finish finish) {
  alignas(64) float sums[kTileTokens * kPanel];
  const int64_t groups = linear.width / group_of(kind);  // a word of 4 bytes for each output
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
        const auto bias = load(linear.bias + output + part);
        auto scales = bias, row_sums = bias;
        if constexpr (kind == Kind::int8) {
          scales = load(linear.scales + output + part);
          row_sums = load(linear.row_sums + output + part);
        }
        for (int64_t token = tokens.begin; token < tokens.end; token++) {
          auto value = load(sums + (token - tokens.begin) * kPanel + part);
          if constexpr (kind == Kind::int8) {
            const auto offset = multiply_add(constant(input.low[token]), row_sums, bias);
            value = multiply_add(from_integers(value), constant(input.scale[token]) * scales, offset);
          } else {
            value = value + bias;
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
    auto sum = constant(0.0f), squares = sum;
    for (int64_t at = 0; at < width; at += kLanes) sum = sum + load(own + at);
    const auto mean = constant(total(sum) / width);
    for (int64_t at = 0; at < width; at += kLanes) {
      const auto distance = load(own + at) - mean;
      squares = multiply_add(distance, distance, squares);
    }
    const auto factor = constant(1.0f / std::sqrt(total(squares) / width + eps));
    for (int64_t at = 0; at < width; at += kLanes) {
      const auto value = (load(own + at) - mean) * factor;
      store(own + at, multiply_add(value, load(norm.weight + at), load(norm.bias + at)));
    }
  }
}
