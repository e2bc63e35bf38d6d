// The transformer layers on packed tokens, for x86 processors with AVX-512 or AVX2, in two passes over the tokens of
// each layer. With torch's operators, PackedLayer of layers.py takes some thirty passes.
//
// The layers are compiled once for each instruction set, in a namespace of its own. All other code runs on any x86-64
// processor.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <cpuid.h>
#include <torch/library.h>

#include <atomic>
#include <string>
#include <tuple>
#include <type_traits>

#include "parts.h"

namespace sentriton {

using at::Tensor;

float* data(const Tensor& tensor) { return (float*)tensor.data_ptr(); }

Kind kind_of(at::ScalarType weights) {
  return weights == at::kFloat ? Kind::fp32 : weights == at::kBFloat16 ? Kind::bf16 : Kind::int8;
}

using Encode = void(const std::vector<Layer>& layers, float* hidden, Heads heads, const Rows& rows,
                    const DistanceBias& bias);

// The layers for one instruction set.
struct Instructions {
  const char* name;
  int64_t panel;         // outputs of a panel of weights
  bool cuts_sums_off;    // of two adjacent 8-bit products that exceed 16 bits
  int64_t slice_tokens;  // the most of a slice
  Encode* (*encode_by)(const std::string& activation);
};

}  // namespace sentriton

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")
namespace sentriton::avx512 {
#include "avx512.h"
// Then the code of all instruction sets.
#include "vectors.h"
#include "products.h"
#include "attention.h"
#include "encode.h"
}  // namespace sentriton::avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace sentriton::avx2 {
#include "avx2.h"
// Then the code of all instruction sets.
#include "vectors.h"
#include "products.h"
#include "attention.h"
#include "encode.h"
}  // namespace sentriton::avx2
#pragma GCC pop_options

namespace sentriton {

constexpr Instructions kAvx512 = avx512::instructions("AVX-512"), kAvx2 = avx2::instructions("AVX2");

// A bit of the processor's extended features.
bool has_feature(unsigned subleaf, bool in_edx, int bit) {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, subleaf, &eax, &ebx, &ecx, &edx) && (in_edx ? edx : eax) >> bit & 1;
}

// Whether the processor has the instructions for products of these weights. An instruction that asks the processor traps
// in a virtual machine: once is enough.
bool can_multiply(const Instructions& by, at::ScalarType weights) {
  static const bool avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512dq");
  static const bool avx512_bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  static const bool avx512_int8 = avx512 && __builtin_cpu_supports("avx512vnni");
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool wide = &by == &kAvx512;
  if (weights == at::kFloat) return wide ? avx512 : avx2;
  if (weights == at::kBFloat16) return wide ? avx512_bf16 : avx2;
  return weights == at::kChar && (wide ? avx512_int8 : avx2);
}

const Instructions& best_instructions() { return can_multiply(kAvx512, at::kFloat) ? kAvx512 : kAvx2; }

// Whether oneDNN has faster instructions for these weights, which the operators lack. These are units for matrices (AMX),
// and on processors without AVX-512 the products of 8-bit numbers (AVX-VNNI).
bool has_better_products(at::ScalarType weights) {
  static const bool amx = has_feature(0, true, 24), avx_vnni = has_feature(1, false, 4);
  return (weights != at::kFloat && amx) || (weights == at::kChar && avx_vnni && &best_instructions() == &kAvx2);
}

// The instruction set that a test uses, if any.
std::atomic<const Instructions*> tested{nullptr};

const Instructions& instructions() {
  const auto* chosen = tested.load();
  return chosen ? *chosen : best_instructions();
}

std::string name_of_instructions() { return instructions().name; }

// For tests: orders and computes by this instruction set from now on; an empty name is the best one again.
void use_instructions(std::string name) {
  const Instructions* found = nullptr;
  for (const auto* each : {&kAvx512, &kAvx2})
    if (name == each->name && can_multiply(*each, at::kFloat)) found = each;
  TORCH_CHECK(found || name.empty(), "this processor has no ", name);
  tested = found;
}

// Whether the operators have weights of this type and the instructions that they need, and are faster than oneDNN.
bool suits(at::ScalarType weights) {
  return can_multiply(instructions(), weights) && (tested.load() || !has_better_products(weights));
}

// The most tokens of a block: threads have slices enough to share out, and no operator is called too often.
int64_t block_tokens() {
  return std::max<int64_t>(2048, 2 * instructions().slice_tokens * at::get_num_threads());
}

// Whether the instructions add adjacent products of 8 bits, two and two, in 16 bits, and cut these sums off.
bool cuts_sums_off() { return instructions().cuts_sums_off; }

constexpr int64_t kMultiple = 32;  // of sizes, for all instruction sets

// Raises unless `tensor` can be read as `count` float32.
void check_floats(const Tensor& tensor, int64_t count, const char* name) {
  TORCH_CHECK(tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous() &&
                  tensor.numel() == count,
              "the ", name, " must be contiguous float32 [", count, "] on the CPU");
}

// Raises unless `weight` is an ordered weight [outputs, inputs] of this type.
void check_weight(const Instructions& by, const Tensor& weight, at::ScalarType type, int64_t outputs, int64_t inputs,
                  const char* name) {
  TORCH_CHECK(weight.layout() == at::kStrided && weight.device().is_cpu() && weight.scalar_type() == type &&
                  weight.is_contiguous() && weight.dim() == 4 && weight.size(0) * by.panel == outputs &&
                  weight.size(2) == by.panel && weight.size(3) == group_of(kind_of(type)) &&
                  weight.size(1) * weight.size(3) == inputs,
              "the ", name, " must be an ordered weight of ", outputs, " outputs and ", inputs, " inputs, as ", type);
}

constexpr int64_t kParameters = 20;  // of a layer

// Raises if a layer with this feed-forward size would read or write beyond a tensor.
void check_layer(const Instructions& by, at::TensorList parameters, int64_t width, int64_t inner) {
  const char* names[] = {"query_key_value", "attention_output", "intermediate", "output"};
  const int64_t outputs[] = {3 * width, width, inner, width}, inputs[] = {width, width, width, inner};
  for (int64_t linear = 0; linear < 4; linear++) {
    const auto type = parameters[4 * linear].scalar_type();
    TORCH_CHECK(can_multiply(by, type), "the operators have no ", type, " on this processor");
    check_weight(by, parameters[4 * linear], type, outputs[linear], inputs[linear], names[linear]);
    check_floats(parameters[4 * linear + 1], outputs[linear], "bias");
    if (type != at::kChar) continue;
    check_floats(parameters[4 * linear + 2], outputs[linear], "scales");
    check_floats(parameters[4 * linear + 3], outputs[linear], "sums of rows");
  }
  for (int64_t norm = 16; norm < kParameters; norm++) check_floats(parameters[norm], width, "norm");
}

// Raises if the layers would read or write beyond a tensor.
void check(const Instructions& by, const Tensor& hidden, at::TensorList parameters, at::IntArrayRef lengths,
           int64_t heads, const std::string& activation, const Tensor& distance_bias) {
  int64_t tokens = 0;
  for (int64_t length : lengths) {
    TORCH_CHECK(length > 0, "a row has at least one token; given is ", length);
    tokens += length;
  }
  TORCH_CHECK(hidden.dim() == 2 && hidden.size(0) == tokens, "hidden must have as many tokens as the rows, ", tokens);
  const int64_t width = hidden.size(1);
  check_floats(hidden, tokens * width, "hidden");
  TORCH_CHECK(heads > 0 && width % (heads * kMultiple) == 0, "the hidden size must be heads times a multiple of ",
              kMultiple, "; given are ", width, " and ", heads, " heads");
  TORCH_CHECK(activation == "gelu" || activation == "relu" || activation == "gelu_new" ||
                  activation == "gelu_pytorch_tanh",
              "the activation ", activation, " is unknown");
  TORCH_CHECK(!parameters.empty() && parameters.size() % kParameters == 0 && parameters[8].dim() == 4,
              "a layer has ", kParameters, " parameters, the weights in order; given are ", parameters.size());
  const int64_t inner = parameters[8].size(0) * by.panel;
  for (size_t first = 0; first < parameters.size(); first += kParameters)
    check_layer(by, parameters.slice(first, kParameters), width, inner);
  TORCH_CHECK(distance_bias.dim() == 2 && distance_bias.size(1) % 2 == 1,
              "the bias by distance must have an odd number of distances, of each head; given are ",
              distance_bias.sizes());
  check_floats(distance_bias, (distance_bias.size(1) == 1 ? 1 : heads) * distance_bias.size(1), "bias by distance");
}

// A weight [outputs, inputs] as panels of outputs: [outputs / panel, groups, panel, numbers of a group].
Tensor order(const Tensor& weight) {
  TORCH_CHECK(weight.dim() == 2 && weight.size(0) % kMultiple == 0, "a weight must have a multiple of ", kMultiple,
              " outputs");
  const Instructions& by = instructions();
  const int64_t panels = weight.size(0) / by.panel;
  return weight.view({panels, by.panel, -1, group_of(kind_of(weight.scalar_type()))}).transpose(1, 2).contiguous();
}

// The layer of these 20 parameters.
Layer layer_of(const Instructions& by, at::TensorList parameters, double eps) {
  const auto linear = [&](int64_t first) {
    const Tensor& weight = parameters[first];
    return Linear{data(weight), data(parameters[first + 1]), data(parameters[first + 2]), data(parameters[first + 3]),
                  weight.size(1) * weight.size(3), weight.size(0) * by.panel, kind_of(weight.scalar_type())};
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
  const Instructions& by = instructions();
  check(by, hidden, parameters, lengths, heads, activation, distance_bias);
  std::vector<int64_t> starts{0};
  for (int64_t length : lengths) starts.push_back(starts.back() + length);
  std::vector<Layer> layers;
  for (size_t first = 0; first < parameters.size(); first += kParameters)
    layers.push_back(layer_of(by, parameters.slice(first, kParameters), eps));
  const int64_t width = hidden.size(1);
  by.encode_by(activation)(layers, data(hidden), {nullptr, heads, width / heads},
                           {starts.data(), (int64_t)lengths.size()}, {data(distance_bias), distance_bias.size(1) / 2});
}

}  // namespace sentriton

TORCH_LIBRARY(sentriton, library) {
  library.def("instructions() -> str", &sentriton::name_of_instructions);
  library.def("use_instructions(str name) -> ()", &sentriton::use_instructions);
  library.def("suits(ScalarType weights) -> bool", &sentriton::suits);
  library.def("cuts_sums_off() -> bool", &sentriton::cuts_sums_off);
  library.def("block_tokens() -> int", &sentriton::block_tokens);
  library.def("order(Tensor weight) -> Tensor", &sentriton::order);
  library.def(
      "layers(Tensor(a!) hidden, Tensor[] parameters, int[] lengths, int heads, float eps, str activation, "
      "Tensor distance_bias) -> ()",
      &sentriton::encode_layers);
}
