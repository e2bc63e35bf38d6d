// The transformer layers on packed tokens, for x86 processors with AVX-512, in two passes over the tokens of each layer.
// With torch's operators, PackedLayer of layers.py takes some thirty passes.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <cpuid.h>
#include <torch/library.h>

#include <atomic>
#include <string>
#include <tuple>
#include <type_traits>

#include "attention.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")

namespace sentriton {

using at::Tensor;

constexpr int64_t kSliceTokens = 192;  // the largest slice; smaller ones read the weights more often
constexpr int64_t kFewTokens = 16;     // with fewer tokens per thread, threads share the outputs instead
constexpr int kSpins = 10'000;         // before a waiting thread sleeps, as GOMP_SPINCOUNT

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

struct Layer {
  Linear query_key_value, attention_output, intermediate, output;
  Norm attention_norm, output_norm;
  float eps;

  // The fewest numbers of 4 bytes in an input.
  int64_t least_group() const {
    const auto kinds = {query_key_value.kind, attention_output.kind, intermediate.kind, output.kind};
    return std::ranges::min(kinds) == Kind::fp32 ? 1 : std::ranges::min(kinds) == Kind::bf16 ? 2 : 4;
  }
};

float* data(const Tensor& tensor) { return (float*)tensor.data_ptr(); }

// float32 [tokens, width] of a block, or of a turn's tokens in its buffer; indexed by the block's tokens in both cases.
struct Values {
  float* data;
  int64_t width, buffer_tokens;
  float* of(const Turn& turn) const {
    return buffer_tokens ? data + (turn.buffer * buffer_tokens - turn.tokens.begin) * width : data;
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
  int64_t least_group = 4;
  for (const Layer& layer : layers) least_group = std::min(least_group, layer.least_group());
  std::vector<Tensor> kept;
  const auto floats = [&](int64_t count) { return data(kept.emplace_back(at::empty({count}, at::kFloat))); };
  const auto buffer = [&](int64_t each) {
    return Values{floats(plan.buffers() * plan.buffer_tokens() * each), each, plan.buffer_tokens()};
  };
  heads.query_key_value = floats(rows.end() * 3 * width);
  const Values hidden{hidden_data, width, 0}, context = buffer(width), wide = buffer(inner);
  const Values numbers = buffer(std::max(width, inner) / least_group), scale = buffer(1), low = buffer(1);
  // With float32, a product takes the values where they are.
  const auto input_of = [&](const Linear& linear, const Values& values, const Turn& turn) {
    return linear.kind == Kind::fp32 ? Input{values.of(turn), nullptr, nullptr, values.width}
                                     : Input{numbers.of(turn), scale.of(turn), low.of(turn), numbers.width};
  };
  const auto prepared = [&](Linear Layer::* of_layer, const Values& values) {
    return [&, of_layer](int64_t layer, const Turn& turn) {
      const Linear& linear = layers[layer].*of_layer;
      by_kind(linear.kind, [&](auto kind) {
        prepare<kind()>(values.of(turn), values.width, turn.own_tokens(), input_of(linear, values, turn));
      });
    };
  };
  const auto multiply = [&](const Linear& linear, const Values& values, const Turn& turn, auto place, auto finish) {
    by_kind(linear.kind, [&](auto kind) {
      apply<kind()>(linear, input_of(linear, values, turn), turn, place, finish);
    });
  };
  const auto add = [](float* to, __m512 value) { _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), value)); };
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
    const auto finish = [](float* to, __m512 value) { _mm512_storeu_ps(to, value); };
    multiply(layers[layer].query_key_value, hidden, turn, place, finish);
  };
  const auto attended = [&](int64_t, const Turn& turn) { attend(heads, rows, bias, turn, context.of(turn)); };
  const auto activated = [&](int64_t layer, const Turn& turn) {
    const auto place = [&](int64_t output) { return Output{wide.of(turn) + output, inner}; };
    const auto finish = [](float* to, __m512 value) { _mm512_storeu_ps(to, Activation::of(value)); };
    multiply(layers[layer].intermediate, hidden, turn, place, finish);
  };
  plan.run(layers.size(), rows, std::tuple(prepared(&Layer::query_key_value, hidden), projected),
           std::tuple(attended, prepared(&Layer::attention_output, context), added(&Layer::attention_output, context),
                      normalized(&Layer::attention_norm), prepared(&Layer::intermediate, hidden), activated,
                      prepared(&Layer::output, wide), added(&Layer::output, wide), normalized(&Layer::output_norm)));
}

auto encode_by(const std::string& activation) {
  if (activation == "gelu") return &encode<Gelu>;
  return activation == "relu" ? &encode<Relu> : &encode<GeluByTanh>;
}

}  // namespace sentriton

#pragma GCC pop_options

namespace sentriton {

Kind kind_of(at::ScalarType weights) {
  return weights == at::kFloat ? Kind::fp32 : weights == at::kBFloat16 ? Kind::bf16 : Kind::int8;
}

bool has_matrix_units() {
  unsigned eax, ebx, ecx, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && edx & (1 << 24);  // AMX
}

// Whether the operators have weights of this type and the instructions that they need, and are faster than oneDNN. They
// are slower on processors with units for matrices.
bool suits(at::ScalarType weights) {
  // An instruction that asks the processor traps in a virtual machine: once is enough.
  static const bool fp32 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512dq");
  static const bool bf16 = fp32 && __builtin_cpu_supports("avx512bf16") && !has_matrix_units();
  static const bool int8 = fp32 && __builtin_cpu_supports("avx512vnni") && !has_matrix_units();
  return (weights == at::kFloat && fp32) || (weights == at::kBFloat16 && bf16) || (weights == at::kChar && int8);
}

// The most tokens of a block: threads have slices enough to share out, and no operator is called too often.
int64_t block_tokens() { return std::max<int64_t>(2048, 2 * kSliceTokens * at::get_num_threads()); }

// Raises unless `tensor` can be read as `count` float32.
void check_floats(const Tensor& tensor, int64_t count, const char* name) {
  TORCH_CHECK(tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous() &&
                  tensor.numel() == count,
              "the ", name, " must be contiguous float32 [", count, "] on the CPU");
}

// Raises unless `weight` is an ordered weight [outputs, inputs] of this type.
void check_weight(const Tensor& weight, at::ScalarType type, int64_t outputs, int64_t inputs, const char* name) {
  TORCH_CHECK(weight.layout() == at::kStrided && weight.device().is_cpu() && weight.scalar_type() == type &&
                  weight.is_contiguous() && weight.dim() == 4 && weight.size(0) * kPanel == outputs &&
                  weight.size(2) == kPanel && weight.size(3) == 4 / weight.element_size() &&
                  weight.size(1) * weight.size(3) == inputs,
              "the ", name, " must be an ordered weight of ", outputs, " outputs and ", inputs, " inputs, as ", type);
}

constexpr int64_t kParameters = 20;  // of a layer

// Raises if a layer with this feed-forward size would read or write beyond a tensor.
void check_layer(at::TensorList parameters, int64_t width, int64_t inner) {
  const char* names[] = {"query_key_value", "attention_output", "intermediate", "output"};
  const int64_t outputs[] = {3 * width, width, inner, width}, inputs[] = {width, width, width, inner};
  for (int64_t linear = 0; linear < 4; linear++) {
    const auto type = parameters[4 * linear].scalar_type();
    TORCH_CHECK(suits(type), "the operators have no ", type, " on this processor");
    check_weight(parameters[4 * linear], type, outputs[linear], inputs[linear], names[linear]);
    check_floats(parameters[4 * linear + 1], outputs[linear], "bias");
    if (type != at::kChar) continue;
    check_floats(parameters[4 * linear + 2], outputs[linear], "scales");
    check_floats(parameters[4 * linear + 3], outputs[linear], "sums of rows");
  }
  for (int64_t norm = 16; norm < kParameters; norm++) check_floats(parameters[norm], width, "norm");
}

// Raises if the layers would read or write beyond a tensor.
void check(const Tensor& hidden, at::TensorList parameters, at::IntArrayRef lengths, int64_t heads,
           const std::string& activation, const Tensor& distance_bias) {
  int64_t tokens = 0;
  for (int64_t length : lengths) {
    TORCH_CHECK(length > 0, "a row has at least one token; given is ", length);
    tokens += length;
  }
  TORCH_CHECK(hidden.dim() == 2 && hidden.size(0) == tokens, "hidden must have as many tokens as the rows, ", tokens);
  const int64_t width = hidden.size(1);
  check_floats(hidden, tokens * width, "hidden");
  TORCH_CHECK(heads > 0 && width % (heads * kPanel) == 0, "the hidden size must be heads times a multiple of ", kPanel,
              "; given are ", width, " and ", heads, " heads");
  TORCH_CHECK(activation == "gelu" || activation == "relu" || activation == "gelu_new" ||
                  activation == "gelu_pytorch_tanh",
              "the activation ", activation, " is unknown");
  TORCH_CHECK(!parameters.empty() && parameters.size() % kParameters == 0 && parameters[8].dim() == 4,
              "a layer has ", kParameters, " parameters, the weights in order; given are ", parameters.size());
  const int64_t inner = parameters[8].size(0) * kPanel;
  for (size_t first = 0; first < parameters.size(); first += kParameters)
    check_layer(parameters.slice(first, kParameters), width, inner);
  TORCH_CHECK(distance_bias.dim() == 2 && distance_bias.size(1) % 2 == 1,
              "the bias by distance must have an odd number of distances, of each head; given are ",
              distance_bias.sizes());
  check_floats(distance_bias, (distance_bias.size(1) == 1 ? 1 : heads) * distance_bias.size(1), "bias by distance");
}

// A weight [outputs, inputs] as panels of 32 outputs: [outputs / 32, groups, 32, numbers of a group].
Tensor order(const Tensor& weight) {
  TORCH_CHECK(weight.dim() == 2 && weight.size(0) % kPanel == 0, "a weight must have a multiple of ", kPanel,
              " outputs");
  const int64_t group = 4 / weight.element_size();
  return weight.view({weight.size(0) / kPanel, kPanel, -1, group}).transpose(1, 2).contiguous();
}

// The layer of these 20 parameters.
Layer layer_of(at::TensorList parameters, double eps) {
  const auto linear = [&](int64_t first) {
    const Tensor& weight = parameters[first];
    return Linear{data(weight), data(parameters[first + 1]), data(parameters[first + 2]), data(parameters[first + 3]),
                  weight.size(1) * weight.size(3), weight.size(0) * kPanel, kind_of(weight.scalar_type())};
  };
  const auto norm = [&](int64_t first) { return Norm{data(parameters[first]), data(parameters[first + 1])}; };
  return {linear(0), linear(4), linear(8), linear(12), norm(16), norm(18), (float)eps};
}

// Layers on `hidden` float32 [tokens, hidden], one after the other, in place. The `parameters` of each begin with the
// linear layers query_key_value, attention_output, intermediate, output, each of a type of its own. Each has the ordered
// weight, bias, scales and sums of rows (float32 [outputs], the last two of 8-bit weights alone). Weight and bias of
// attention_norm and output_norm follow. `lengths`: the tokens of each row. `distance_bias` float32 [heads, 2 * far + 1],
// or of one element where distance does not count.
void encode_layers(Tensor hidden, at::TensorList parameters, at::IntArrayRef lengths, int64_t heads, double eps,
                   std::string activation, const Tensor& distance_bias) {
  check(hidden, parameters, lengths, heads, activation, distance_bias);
  std::vector<int64_t> starts{0};
  for (int64_t length : lengths) starts.push_back(starts.back() + length);
  std::vector<Layer> layers;
  for (size_t first = 0; first < parameters.size(); first += kParameters)
    layers.push_back(layer_of(parameters.slice(first, kParameters), eps));
  const int64_t width = hidden.size(1);
  encode_by(activation)(layers, data(hidden), {nullptr, heads, width / heads},
                        {starts.data(), (int64_t)lengths.size()}, {data(distance_bias), distance_bias.size(1) / 2});
}

}  // namespace sentriton

TORCH_LIBRARY(sentriton, library) {
  library.def("suits(ScalarType weights) -> bool", &sentriton::suits);
  library.def("block_tokens() -> int", &sentriton::block_tokens);
  library.def("order(Tensor weight) -> Tensor", &sentriton::order);
  library.def(
      "layers(Tensor(a!) hidden, Tensor[] parameters, int[] lengths, int heads, float eps, str activation, "
      "Tensor distance_bias) -> ()",
      &sentriton::encode_layers);
}
