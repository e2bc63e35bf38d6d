// The layers of an encoder, in two passes over the tokens of each.

constexpr int64_t kFewTokens = 16;  // with fewer tokens per thread, threads share the outputs instead
constexpr int kSpins = 10'000;      // before a waiting thread sleeps, as GOMP_SPINCOUNT

// The number of finished steps of a slice of tokens, for threads that need its results.
class Progress {
 public:
  void wait_for(int step) const {
    for (int spin = 0; spin < kSpins && done() < step; spin++) _mm_pause();
    for (int now; (now = done()) < step;) done_.wait(now, std::memory_order_acquire);
  }
  void finish(int step) {
    done_.store(step + 1, std::memory_order_release);
    done_.notify_all();
  }

 private:
  int done() const { return done_.load(std::memory_order_acquire); }
  std::atomic<int> done_{0};
};

// The division of a block's tokens. With few tokens, the threads share the outputs of each phase. With many, a thread
// takes slice after slice through one step of a layer. A slice waits only for the slices with which it shares a row, so
// a delayed thread does not delay the others.
struct Plan {
  int64_t tokens, threads, slices;

  explicit Plan(int64_t tokens) : tokens(tokens), threads(at::get_num_threads()) {
    const int64_t together = threads * kSliceTokens;
    slices = tokens < kFewTokens * threads ? 1 : (tokens + together - 1) / together * threads;
  }
  int64_t buffers() const { return slices == 1 ? 1 : threads; }
  int64_t buffer_tokens() const { return (tokens + slices - 1) / slices; }
  Range slice(int64_t index) const { return Range{0, tokens}.part(index, slices); }

  // Calls phase(layer, turn) for each phase of the two steps of each layer. A phase reads its own tokens, and of other
  // tokens only the results of the step before, for the same rows.
  template <class... First, class... Second>
  void run(int64_t layers, const Rows& rows, std::tuple<First...> first, std::tuple<Second...> second) const {
    const auto on_all = [&](auto work) {
      at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t thread = begin; thread < end; thread++) work(thread);
      });
    };
    if (slices == 1) {
      for (int64_t layer = 0; layer < layers; layer++)
        std::apply(
            [&](auto... phase) {
              (on_all([&](int64_t thread) { phase(layer, Turn{{0, tokens}, thread, threads, 0}); }), ...);
            },
            std::tuple_cat(first, second));
      return;
    }
    std::vector<Range> needed;  // the slices whose rows are also in this one
    for (int64_t index = 0; index < slices; index++) needed.push_back(sharing(rows, slice(index)));
    std::vector<Progress> progress(slices);
    std::atomic<int64_t> next{0};
    on_all([&](int64_t thread) {
      for (int64_t task; (task = next++) < 2 * layers * slices;) {
        const int64_t step = task / slices, index = task % slices;
        for (int64_t other = needed[index].begin; other < needed[index].end; other++) progress[other].wait_for(step);
        const auto take = [&](auto... phase) { (phase(step / 2, Turn{slice(index), 0, 1, thread}), ...); };
        step % 2 ? std::apply(take, second) : std::apply(take, first);
        progress[index].finish(step);
      }
    });
  }

 private:
  // The slices that hold a token of a row which has tokens in `own`.
  Range sharing(const Rows& rows, Range own) const {
    const auto row_of = [&](int64_t token) {
      return std::upper_bound(rows.starts, rows.starts + rows.count, token) - rows.starts - 1;
    };
    const Range all{rows.starts[row_of(own.begin)], rows.starts[row_of(own.end - 1) + 1]};
    Range found{0, 0};
    while (slice(found.begin).end <= all.begin) found.begin++;
    for (found.end = found.begin; found.end < slices && slice(found.end).begin < all.end;) found.end++;
    return found;
  }
};

// Calls `work` with the kind as a constant.
template <class Work>
void by_kind(Kind kind, Work work) {
  if (kind == Kind::fp32) return work(std::integral_constant<Kind, Kind::fp32>());
  if (kind == Kind::bf16) return work(std::integral_constant<Kind, Kind::bf16>());
  work(std::integral_constant<Kind, Kind::int8>());
}

template <class Activation>
void encode(const std::vector<Layer>& layers, float* hidden_data, Heads heads, const Rows& rows,
            const DistanceBias& bias) {
  const Plan plan(rows.end());
  const int64_t width = layers[0].output.height, inner = layers[0].intermediate.height;
  int64_t words = 0;  // of an input that is prepared
  for (const Layer& layer : layers)
    for (const Linear* linear : {&layer.query_key_value, &layer.attention_output, &layer.intermediate, &layer.output})
      by_kind(linear->kind, [&](auto kind) {
        if constexpr (!kTakesFloats<kind()>) words = std::max(words, linear->width / group_of(kind()));
      });
  std::vector<Tensor> kept;
  const auto floats = [&](int64_t count) { return data(kept.emplace_back(at::empty({count}, at::kFloat))); };
  const auto buffer = [&](int64_t each) {
    return Values{floats(plan.buffers() * plan.buffer_tokens() * each), each, plan.buffer_tokens()};
  };
  heads.query_key_value = floats(rows.end() * 3 * width);
  const Values hidden{hidden_data, width, 0}, context = buffer(width), wide = buffer(inner);
  const Values numbers = buffer(words), scale = buffer(1), low = buffer(1);
  const auto input_of = [&](auto kind, const Values& values, const Turn& turn) {
    return kTakesFloats<kind()> ? Input{values.of(turn), nullptr, nullptr, values.width}
                                : Input{numbers.of(turn), scale.of(turn), low.of(turn), numbers.width};
  };
  const auto prepared = [&](Linear Layer::* of_layer, const Values& values) {
    return [&, of_layer](int64_t layer, const Turn& turn) {
      by_kind((layers[layer].*of_layer).kind, [&](auto kind) {
        prepare<kind()>(values.of(turn), values.width, turn.own_tokens(), input_of(kind, values, turn));
      });
    };
  };
  const auto multiply = [&](const Linear& linear, const Values& values, const Turn& turn, auto place, auto finish) {
    by_kind(linear.kind, [&](auto kind) {
      apply<kind()>(linear, input_of(kind, values, turn), turn, place, finish);
    });
  };
  const auto add = [](float* to, Floats value) { store(to, load(to) + value); };
  const auto added = [&](Linear Layer::* of_layer, const Values& values) {
    return [&, of_layer](int64_t layer, const Turn& turn) {
      const auto place = [&](int64_t output) { return Output{hidden.data + output, width}; };
      multiply(layers[layer].*of_layer, values, turn, place, add);
    };
  };
  const auto normalized = [&](Norm Layer::* of_layer) {
    return [&, of_layer](int64_t layer, const Turn& turn) {
      normalize(layers[layer].*of_layer, layers[layer].eps, hidden.data, width, turn.own_tokens());
    };
  };
  const auto projected = [&](int64_t layer, const Turn& turn) {
    const auto place = [&](int64_t output) {
      const int64_t head = output / heads.size;
      return Output{heads.query_key_value + head * rows.end() * heads.size + output % heads.size, heads.size};
    };
    const auto finish = [](float* to, Floats value) { store(to, value); };
    multiply(layers[layer].query_key_value, hidden, turn, place, finish);
  };
  const auto attended = [&](int64_t, const Turn& turn) { attend(heads, rows, bias, turn, context.of(turn)); };
  const auto activated = [&](int64_t layer, const Turn& turn) {
    const auto place = [&](int64_t output) { return Output{wide.of(turn) + output, inner}; };
    const auto finish = [](float* to, Floats value) { store(to, Activation::of(value)); };
    multiply(layers[layer].intermediate, hidden, turn, place, finish);
  };
  plan.run(layers.size(), rows, std::tuple(prepared(&Layer::query_key_value, hidden), projected),
           std::tuple(attended, prepared(&Layer::attention_output, context), added(&Layer::attention_output, context),
                      normalized(&Layer::attention_norm), prepared(&Layer::intermediate, hidden), activated,
                      prepared(&Layer::output, wide), added(&Layer::output, wide), normalized(&Layer::output_norm)));
}

Encode* encode_by(const std::string& activation) {
  if (activation == "gelu") return &encode<Gelu>;
  return activation == "relu" ? &encode<Relu> : &encode<GeluByTanh>;
}

constexpr Instructions instructions(const char* name) {
  return {name, kPanel, kCutsSumsOff, kSliceTokens, &encode_by};
}
