// Functions of 16 float32 at a time, and the kernel of all products.
//
// The kernel sums up to 12 tokens times 32 outputs in registers. It reads the input in groups of 4 bytes: a float32,
// two bfloat16 or four 8-bit numbers. It adds a token's products in the same order for any other tokens, so that its
// result is identical to the bit.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <utility>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")

namespace sentriton {

enum class Kind { fp32, bf16, int8 };

constexpr int64_t kLanes = 16;          // float32 of a register
constexpr int64_t kPanel = 2 * kLanes;  // outputs of a tile, in the order of the weights
constexpr int64_t kTileTokens = 12;     // sums of 12 tokens and 32 outputs leave some registers for the operands

// The number of values in 4 bytes.
template <Kind kind>
constexpr int64_t kGroup = kind == Kind::fp32 ? 1 : kind == Kind::bf16 ? 2 : 4;

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  // The `index`-th of `count` parts of similar size, divided at multiples of `unit`.
  Range part(int64_t index, int64_t count, int64_t unit = 1) const {
    const int64_t units = (size() + unit - 1) / unit;
    const auto cut = [&](int64_t at) { return std::min(end, begin + units * at / count * unit); };
    return {cut(index), cut(index + 1)};
  }
};

template <Kind kind>
inline __m512 multiply_add(__m512 sum, __m512 a, __m512 b) {
  if constexpr (kind == Kind::fp32) return _mm512_fmadd_ps(a, b, sum);
  if constexpr (kind == Kind::bf16) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  return (__m512)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}

inline __m512 constant(float value) { return _mm512_set1_ps(value); }

inline __m512 polynomial(__m512 x, std::initializer_list<float> coefficients) {
  auto sum = _mm512_setzero_ps();
  for (float coefficient : coefficients) sum = _mm512_fmadd_ps(sum, x, constant(coefficient));
  return sum;
}

// e^x by 2^n * e^r with |r| <= ln 2 / 2 (Cephes, expf).
inline __m512 exponential(__m512 x) {
  x = _mm512_max_ps(x, constant(-104.0f));
  const auto n = _mm512_roundscale_ps(_mm512_mul_ps(x, constant(1.44269504088896341f)), 8);
  auto r = _mm512_fnmadd_ps(n, constant(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, constant(-2.12194440e-4f), r);
  const auto p = polynomial(r, {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                                1.6666665459e-1f, 5.0000001201e-1f, 1.0f, 1.0f});
  return _mm512_scalef_ps(p, n);
}

// erf(x) = x P(x^2) / Q(x^2) for |x| <= 4, beyond which it is 1 in float32 (Eigen and XLA, fast erf).
inline __m512 error_function(__m512 x) {
  x = _mm512_max_ps(_mm512_min_ps(x, constant(4.0f)), constant(-4.0f));
  const auto square = _mm512_mul_ps(x, x);
  const auto p = polynomial(square, {-2.72614225801306e-10f, 2.77068142495902e-08f, -2.10102402082508e-06f,
                                     -5.69250639462346e-05f, -7.34990630326855e-04f, -2.95459980854025e-03f,
                                     -1.60960333262415e-02f});
  const auto q = polynomial(square, {-1.45660718464996e-05f, -2.13374055278905e-04f, -1.68282697438203e-03f,
                                     -7.37332916720468e-03f, -1.42647390514189e-02f});
  return _mm512_div_ps(_mm512_mul_ps(x, p), q);
}

struct Gelu {
  static __m512 of(__m512 x) {
    const auto half = _mm512_mul_ps(x, constant(0.5f));
    return _mm512_fmadd_ps(half, error_function(_mm512_mul_ps(x, constant(0.70710678118654752f))), half);
  }
};

// 0.5 x (1 + tanh(u)) = x / (1 + e^-2u)
struct GeluByTanh {
  static __m512 of(__m512 x) {
    const auto cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
    const auto u = _mm512_mul_ps(_mm512_fmadd_ps(cube, constant(0.044715f), x), constant(-1.5957691216057308f));
    return _mm512_div_ps(x, _mm512_add_ps(exponential(_mm512_min_ps(u, constant(88.0f))), constant(1.0f)));
  }
};

struct Relu {
  static __m512 of(__m512 x) { return _mm512_max_ps(x, _mm512_setzero_ps()); }
};

// sums[ROWS, 32] = a[ROWS, groups] * b[groups, 32]; strides count groups of 4 bytes. Meanwhile it prefetches the next
// numbers, `ahead_step` per group from `ahead`.
template <Kind kind, int ROWS>
void tile(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t groups, float* sums,
          int64_t sums_stride, const float* ahead, int64_t ahead_step) {
  __m512 sum[ROWS][2];
#pragma GCC unroll 12
  for (int row = 0; row < ROWS; row++) sum[row][0] = sum[row][1] = _mm512_setzero_ps();
  for (int64_t group = 0; group < groups; group++, b += b_stride) {
    const auto b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + kLanes);
    _mm_prefetch((const char*)(ahead + group * ahead_step), _MM_HINT_T1);
#pragma GCC unroll 12
    for (int row = 0; row < ROWS; row++) {
      const auto number = constant(a[row * a_stride + group]);
      sum[row][0] = multiply_add<kind>(sum[row][0], number, b0);
      sum[row][1] = multiply_add<kind>(sum[row][1], number, b1);
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < ROWS; row++) {
    _mm512_storeu_ps(sums + row * sums_stride, sum[row][0]);
    _mm512_storeu_ps(sums + row * sums_stride + kLanes, sum[row][1]);
  }
}

template <Kind kind, int... SMALLER>
constexpr auto tiles_of(std::integer_sequence<int, SMALLER...>) {
  return std::array{&tile<kind, SMALLER + 1>...};
}
// Indexed by the number of tokens minus one.
template <Kind kind>
constexpr auto kTiles = tiles_of<kind>(std::make_integer_sequence<int, kTileTokens>());

// Calls `work` with ranges of at most 12 tokens, of similar size.
template <class Work>
void for_tiles(Range tokens, Work work) {
  const int64_t count = (tokens.size() + kTileTokens - 1) / kTileTokens;
  for (int64_t index = 0; index < count; index++) work(tokens.part(index, count));
}

}  // namespace sentriton

#pragma GCC pop_options
