// Vectors of AVX2 and FMA. They have no products of bfloat16, so a product takes such weights as float32. They add pairs
// of 8-bit products in 16 bits.
constexpr int64_t kLanes = 8;          // float32 of a register
constexpr int64_t kTileTokens = 6;     // sums of 6 tokens and 16 outputs leave 4 registers for the operands
constexpr int64_t kSliceTokens = 96;   // the largest slice; smaller ones read the weights more often
constexpr int64_t kKeyBlock = 512;     // keys whose panels and values fit the second-level cache
constexpr float kLeastExponent = -87;  // of `exponential`, whose result is not subnormal
constexpr bool kCutsSumsOff = true;    // of two 8-bit products that exceed 16 bits

// Whether products take float32 as input, else numbers of `prepare`.
template <Kind kind>
constexpr bool kTakesFloats = kind != Kind::int8;

using Floats = __m256;
using Mask = __m256;

inline Floats constant(float value) { return _mm256_set1_ps(value); }
inline Floats load(const float* from) { return _mm256_loadu_ps(from); }
inline void store(float* to, Floats values) { _mm256_storeu_ps(to, values); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats subtract_product(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(a, b, c); }
inline Floats lesser(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats greater(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats round(Floats x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// For whole exponents from -126 to 127.
inline Floats times_power_of_2(Floats x, Floats exponent) {
  const auto biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127));
  return x * (__m256)_mm256_slli_epi32(biased, 23);
}
inline Floats from_integers(Floats integers) { return _mm256_cvtepi32_ps((__m256i)integers); }

// `combine` of all lanes.
template <class Combine>
inline float reduce(Floats x, Combine combine) {
  const auto four = combine(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const auto two = combine(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(combine(two, _mm_movehdup_ps(two)));
}
inline float least(Floats x) {
  return reduce(x, [](__m128 a, __m128 b) { return _mm_min_ps(a, b); });
}
inline float greatest(Floats x) {
  return reduce(x, [](__m128 a, __m128 b) { return _mm_max_ps(a, b); });
}
inline float total(Floats x) {
  return reduce(x, [](__m128 a, __m128 b) { return a + b; });
}

// The first `count` lanes, or all.
inline Mask first_lanes(int64_t count) {
  const auto counts = _mm256_set1_epi32((int)std::min(count, kLanes));
  return (__m256)_mm256_cmpgt_epi32(counts, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Floats greater(Floats a, Floats b, Mask of) { return _mm256_blendv_ps(a, greater(a, b), of); }
inline Floats add(Floats a, Floats b, Mask of) { return a + _mm256_and_ps(b, of); }

// The weights of a group for 8 outputs, [8, group], as the operand of a product. Of bfloat16 it has only the first
// (`part` 0) or the second number of each group.
template <Kind kind>
inline Floats operand(const float* weights, int part) {
  if constexpr (kind != Kind::bf16) return load(weights);
  if (part == 0) return (__m256)_mm256_slli_epi32((__m256i)load(weights), 16);
  asm volatile("" ::: "memory");  // no register is left for operands of both parts
  return _mm256_and_ps(load(weights), (__m256)_mm256_set1_epi32(0xffff0000));
}

template <Kind kind>
inline Floats add_product(Floats sum, Floats a, Floats b) {
  if constexpr (kind != Kind::int8) {
    // In assembly, so that each sum stays in its register. GCC moves some to memory otherwise.
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
  }
  const auto pairs = _mm256_maddubs_epi16((__m256i)a, (__m256i)b);  // in 16 bits
  return (__m256)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Stores 8 values from 0 to 255 as numbers of a product's input.
template <Kind kind>
inline void store_numbers(float* to, Floats values) {
  const auto numbers = _mm256_cvtps_epi32(values);
  const auto low = _mm256_castsi256_si128(numbers), high = _mm256_extracti128_si256(numbers, 1);
  const auto in_16_bits = _mm_packs_epi32(low, high);
  _mm_storel_epi64((__m128i*)to, _mm_packus_epi16(in_16_bits, in_16_bits));
}
