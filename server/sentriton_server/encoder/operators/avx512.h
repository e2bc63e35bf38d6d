// Vectors of AVX-512. Products of bfloat16 and of 8-bit numbers have instructions of their own.
constexpr int64_t kLanes = 16;          // float32 of a register
constexpr int64_t kTileTokens = 12;     // sums of 12 tokens and 32 outputs leave some registers for the operands
constexpr int64_t kSliceTokens = 192;   // the largest slice; smaller ones read the weights more often
constexpr int64_t kKeyBlock = 512;      // keys whose panels and values fit the second-level cache
constexpr float kLeastExponent = -104;  // of `exponential`, whose result may be subnormal
constexpr bool kCutsSumsOff = false;    // 8-bit products are added in 32 bits

// Whether products take float32 as input, else numbers of `prepare`.
template <Kind kind>
constexpr bool kTakesFloats = kind == Kind::fp32;

using Floats = __m512;
using Mask = __mmask16;

inline Floats constant(float value) { return _mm512_set1_ps(value); }
inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Floats values) { _mm512_storeu_ps(to, values); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats subtract_product(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }
inline Floats lesser(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats greater(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats round(Floats x) { return _mm512_roundscale_ps(x, 8); }
inline Floats times_power_of_2(Floats x, Floats exponent) { return _mm512_scalef_ps(x, exponent); }
inline Floats from_integers(Floats integers) { return _mm512_cvtepi32_ps((__m512i)integers); }
inline float least(Floats x) { return _mm512_reduce_min_ps(x); }
inline float greatest(Floats x) { return _mm512_reduce_max_ps(x); }
inline float total(Floats x) { return _mm512_reduce_add_ps(x); }

// The first `count` lanes, or all.
inline Mask first_lanes(int64_t count) { return count >= kLanes ? 0xffff : (1 << count) - 1; }
inline Floats greater(Floats a, Floats b, Mask of) { return _mm512_mask_max_ps(a, of, a, b); }
inline Floats add(Floats a, Floats b, Mask of) { return _mm512_mask_add_ps(a, of, a, b); }

// The weights of a group for 16 outputs, [16, group], as the operand of a product.
template <Kind kind>
inline Floats operand(const float* weights, int) {
  return load(weights);
}

template <Kind kind>
inline Floats add_product(Floats sum, Floats a, Floats b) {
  if constexpr (kind == Kind::fp32) return _mm512_fmadd_ps(a, b, sum);
  if constexpr (kind == Kind::bf16) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  return (__m512)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}

// Stores 16 values as numbers of a product's input.
template <Kind kind>
inline void store_numbers(float* to, Floats values) {
  if constexpr (kind == Kind::bf16)
    _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(values));
  else
    _mm_storeu_si128((__m128i*)to, _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(values)));
}
