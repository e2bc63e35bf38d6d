// One transformer layer on packed tokens, for x86 processors with AVX-512, in two passes over the tokens. With torch's
// operators, PackedLayer of layers.py takes some thirty passes.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <cpuid.h>
#include <torch/library.h>

#include <atomic>
#include <string>
#include <type_traits>

#include "attention.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")

namespace sentriton {

using at::Tensor;

constexpr int64_t kSliceTokens = 192;  // the largest slice of a thread; smaller ones read the weights more often
constexpr int64_t kFewTokens = 16;     // with fewer tokens per thread, threads share the outputs instead

// The division of a block's tokens. With few tokens, the threads share the outputs of each phase. With many, a thread
// takes slice after slice through all phases. Each slice goes to a free thread, so that a delayed thread does not delay
// the others.
struct Plan {
  int64_t tokens, threads, slices;

  explicit Plan(int64_t tokens) : tokens(tokens), threads(at::get_num_threads()) {
    const int64_t together = threads * kSliceTokens;
    slices = tokens < kFewTokens * threads ? 1 : (tokens + together - 1) / together * threads;
  }
  int64_t buffers() const { return slices == 1 ? 1 : threads; }
  int64_t buffer_tokens() const { return (tokens + slices - 1) / slices; }

  template <class... Phase>
  void run(Phase... phases) const {
    const auto on_all = [&](auto work) {
      at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t thread = begin; thread < end; thread++) work(thread);
      });
    };
    const Range all{0, tokens};
    if (slices == 1) {
      (on_all([&](int64_t thread) { phases(Turn{all, thread, threads, 0}); }), ...);
      return;
    }
    std::atomic<int64_t> next{0};
    on_all([&](int64_t thread) {
      for (int64_t slice; (slice = next++) < slices;) (phases(Turn{all.part(slice, slices), 0, 1, thread}), ...);
    });
  }
};

struct Layer {
  Linear query_key_value, attention_output, intermediate, output;
  Norm attention_norm, output_norm;
  float eps;

  // The minimum number of 4-byte groups in an input.
  int64_t least_group() const {
    const auto kinds = {query_key_value.kind, attention_output.kind, intermediate.kind, output.kind};
    return std::ranges::min(kinds) == Kind::fp32 ? 1 : std::ranges::min(kinds) == Kind::bf16 ? 2 : 4;
  }
};

float* data(const Tensor& tensor) { return (float*)tensor.data_ptr(); }

// float32 [tokens, width] of a block, or of a turn's tokens in its buffer. The index is the block's token in both
// cases.
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
void encode(const Layer& layer, float* hidden_data, Heads heads, const Rows& rows, const DistanceBias& bias) {
  const Plan plan(rows.end());
  const int64_t width = layer.output.height, inner = layer.intermediate.height, widest = std::max(width, inner);
  std::vector<Tensor> kept;
  const auto floats = [&](int64_t count) { return data(kept.emplace_back(at::empty({count}, at::kFloat))); };
  const auto buffer = [&](int64_t each) {
    return Values{floats(plan.buffers() * plan.buffer_tokens() * each), each, plan.buffer_tokens()};
  };
  heads.query_key_value = floats(rows.end() * 3 * width);
  const Values hidden{hidden_data, width, 0}, context = buffer(width), wide = buffer(inner);
  const Values numbers = buffer(widest / layer.least_group()), scale = buffer(1), low = buffer(1);
  // With float32, a product reads the values in place.
  const auto input_of = [&](const Linear& linear, const Values& values, const Turn& turn) {
    return linear.kind == Kind::fp32 ? Input{values.of(turn), nullptr, nullptr, values.width}
                                     : Input{numbers.of(turn), scale.of(turn), low.of(turn), numbers.width};
  };
  const auto prepared = [&](const Linear& linear, const Values& values) {
    return [&](const Turn& turn) {
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
  const auto added = [&](const Linear& linear, const Values& values) {
    return [&](const Turn& turn) {
      multiply(linear, values, turn, [&](int64_t output) { return Output{hidden.data + output, width}; }, add);
    };
  };
  const auto normalized = [&](const Norm& norm) {
    return [&](const Turn& turn) { normalize(norm, layer.eps, hidden.data, width, turn.own_tokens()); };
  };
  plan.run(prepared(layer.query_key_value, hidden), [&](const Turn& turn) {
    const auto place = [&](int64_t output) {
      const int64_t head = output / heads.size;
      return Output{heads.query_key_value + head * rows.end() * heads.size + output % heads.size, heads.size};
    };
    const auto finish = [](float* to, __m512 value) { _mm512_storeu_ps(to, value); };
    multiply(layer.query_key_value, hidden, turn, place, finish);
  });
  plan.run([&](const Turn& turn) { attend(heads, rows, bias, turn, context.of(turn)); },
           prepared(layer.attention_output, context), added(layer.attention_output, context),
           normalized(layer.attention_norm), prepared(layer.intermediate, hidden),
           [&](const Turn& turn) {
             const auto place = [&](int64_t output) { return Output{wide.of(turn) + output, inner}; };
             const auto finish = [](float* to, __m512 value) { _mm512_storeu_ps(to, Activation::of(value)); };
             multiply(layer.intermediate, hidden, turn, place, finish);
           },
           prepared(layer.output, wide), added(layer.output, wide), normalized(layer.output_norm));
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

// Whether the operators support weights of this type and this processor, and are faster than oneDNN. They are slower on
// processors with matrix units (AMX).
bool suits(at::ScalarType weights) {
  // Evaluated once, since CPUID traps in a virtual machine.
  static const bool fp32 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512dq");
  static const bool bf16 = fp32 && __builtin_cpu_supports("avx512bf16") && !has_matrix_units();
  static const bool int8 = fp32 && __builtin_cpu_supports("avx512vnni") && !has_matrix_units();
  return (weights == at::kFloat && fp32) || (weights == at::kBFloat16 && bf16) || (weights == at::kChar && int8);
}

// The most tokens of a block: enough slices for all threads, and few calls of the operator.
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

// Raises if the layer would read or write beyond a tensor.
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
  TORCH_CHECK(parameters.size() == 20 && parameters[8].dim() == 4,
              "a layer has 20 parameters, the weights in order; given are ", parameters.size());
  const int64_t inner = parameters[8].size(0) * kPanel;
  const char* names[] = {"query_key_value", "attention_output", "intermediate", "output"};
  const int64_t outputs[] = {3 * width, width, inner, width}, inputs[] = {width, width, width, inner};
  for (int64_t layer = 0; layer < 4; layer++) {
    const auto type = parameters[4 * layer].scalar_type();
    TORCH_CHECK(suits(type), "the operators have no ", type, " on this processor");
    check_weight(parameters[4 * layer], type, outputs[layer], inputs[layer], names[layer]);
    check_floats(parameters[4 * layer + 1], outputs[layer], "bias");
    if (type != at::kChar) continue;
    check_floats(parameters[4 * layer + 2], outputs[layer], "scales");
    check_floats(parameters[4 * layer + 3], outputs[layer], "sums of rows");
  }
  for (int64_t norm = 16; norm < 20; norm++) check_floats(parameters[norm], width, "norm");
  TORCH_CHECK(distance_bias.dim() == 2 && distance_bias.size(1) % 2 == 1,
              "the bias by distance must have an odd number of distances, of each head; given are ",
              distance_bias.sizes());
  check_floats(distance_bias, (distance_bias.size(1) == 1 ? 1 : heads) * distance_bias.size(1), "bias by distance");
}

// Orders a weight [outputs, inputs] into panels of 32 outputs: [outputs / 32, groups, 32, numbers of a group].
Tensor order(const Tensor& weight) {
  TORCH_CHECK(weight.dim() == 2 && weight.size(0) % kPanel == 0, "a weight must have a multiple of ", kPanel,
              " outputs");
  const int64_t group = 4 / weight.element_size();
  return weight.view({weight.size(0) / kPanel, kPanel, -1, group}).transpose(1, 2).contiguous();
}

// Computes the layer on `hidden` float32 [tokens, hidden], in place. `parameters` begins with the linear layers
// query_key_value, attention_output, intermediate, output, which may have different types. Each has the ordered weight,
// bias, scales and row sums (float32 [outputs], the last two only for 8-bit weights). Weight and bias of attention_norm
// and output_norm follow. `lengths` are the tokens of each row. `distance_bias` is float32 [heads, 2 * far + 1], or one
// element without a bias.
void encode_layer(Tensor hidden, at::TensorList parameters, at::IntArrayRef lengths, int64_t heads, double eps,
                  std::string activation, const Tensor& distance_bias) {
  check(hidden, parameters, lengths, heads, activation, distance_bias);
  std::vector<int64_t> starts{0};
  for (int64_t length : lengths) starts.push_back(starts.back() + length);
  const auto linear = [&](int64_t first) {
    const Tensor& weight = parameters[first];
    return Linear{data(weight), data(parameters[first + 1]), data(parameters[first + 2]), data(parameters[first + 3]),
                  weight.size(1) * weight.size(3), weight.size(0) * kPanel, kind_of(weight.scalar_type())};
  };
  const auto norm = [&](int64_t first) { return Norm{data(parameters[first]), data(parameters[first + 1])}; };
  const Layer layer{linear(0), linear(4), linear(8), linear(12), norm(16), norm(18), (float)eps};
  const int64_t width = hidden.size(1);
  encode_by(activation)(layer, data(hidden), {nullptr, heads, width / heads},
                        {starts.data(), (int64_t)lengths.size()}, {data(distance_bias), distance_bias.size(1) / 2});
}

}  // namespace sentriton

TORCH_LIBRARY(sentriton, library) {
  library.def("suits(ScalarType weights) -> bool", &sentriton::suits);
  library.def("block_tokens() -> int", &sentriton::block_tokens);
  library.def("order(Tensor weight) -> Tensor", &sentriton::order);
  library.def(
      "layer(Tensor(a!) hidden, Tensor[] parameters, int[] lengths, int heads, float eps, str activation, "
      "Tensor distance_bias) -> ()",
      &sentriton::encode_layer);
}
