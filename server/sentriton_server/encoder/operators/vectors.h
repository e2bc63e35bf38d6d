// Functions of a register's float32, and the kernel of all products.
//
// The kernel sums up a tile, some tokens times two registers of outputs, in registers. It reads the input in words of 4
// bytes: a float32, two bfloat16 or four 8-bit numbers. It adds a token's products in the same order for any
// other tokens, so that its result is identical to the bit.

constexpr int64_t kPanel = 2 * kLanes;  // outputs of a tile, in the order of the weights

// The words of 4 bytes of an input that are multiplied by a group of weights.
template <Kind kind>
constexpr int64_t kWords = kTakesFloats<kind> ? group_of(kind) : 1;

inline Floats polynomial(Floats x, std::initializer_list<float> coefficients) {
  auto sum = constant(0.0f);
  for (float coefficient : coefficients) sum = multiply_add(sum, x, constant(coefficient));
  return sum;
}

// e^x by 2^n * e^r with |r| <= ln 2 / 2 (Cephes, expf).
inline Floats exponential(Floats x) {
  x = greater(x, constant(kLeastExponent));
  const auto n = round(x * constant(1.44269504088896341f));
  auto r = subtract_product(n, constant(0.693359375f), x);
  r = subtract_product(n, constant(-2.12194440e-4f), r);
  const auto p = polynomial(r, {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                                1.6666665459e-1f, 5.0000001201e-1f, 1.0f, 1.0f});
  return times_power_of_2(p, n);
}

// erf(x) = x P(x^2) / Q(x^2) for |x| <= 4, beyond which it is 1 in float32 (Eigen and XLA, fast erf).
inline Floats error_function(Floats x) {
  x = greater(lesser(x, constant(4.0f)), constant(-4.0f));
  const auto square = x * x;
  const auto p = polynomial(square, {-2.72614225801306e-10f, 2.77068142495902e-08f, -2.10102402082508e-06f,
                                     -5.69250639462346e-05f, -7.34990630326855e-04f, -2.95459980854025e-03f,
                                     -1.60960333262415e-02f});
  const auto q = polynomial(square, {-1.45660718464996e-05f, -2.13374055278905e-04f, -1.68282697438203e-03f,
                                     -7.37332916720468e-03f, -1.42647390514189e-02f});
  return x * p / q;
}

struct Gelu {
  static Floats of(Floats x) {
    const auto half = x * constant(0.5f);
    return multiply_add(half, error_function(x * constant(0.70710678118654752f)), half);
  }
};

// 0.5 x (1 + tanh(u)) = x / (1 + e^-2u)
struct GeluByTanh {
  static Floats of(Floats x) {
    const auto cube = x * x * x;
    const auto u = multiply_add(cube, constant(0.044715f), x) * constant(-1.5957691216057308f);
    return x / (exponential(lesser(u, constant(88.0f))) + constant(1.0f));
  }
};

struct Relu {
  static Floats of(Floats x) { return greater(x, constant(0.0f)); }
};

// sums[ROWS, kPanel] = a[ROWS, groups] * b[groups, kPanel]; strides count words of 4 bytes. Meanwhile it prefetches the
// next numbers, `ahead_step` words per group from `ahead`.
template <Kind kind, int ROWS>
void tile(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t groups, float* sums,
          int64_t sums_stride, const float* ahead, int64_t ahead_step) {
  Floats sum[ROWS][2];
#pragma GCC unroll 12
  for (int row = 0; row < ROWS; row++) sum[row][0] = sum[row][1] = constant(0.0f);
  for (int64_t group = 0; group < groups; group++, b += b_stride) {
    _mm_prefetch((const char*)(ahead + group * ahead_step), _MM_HINT_T1);
#pragma GCC unroll 2
    for (int word = 0; word < kWords<kind>; word++) {
      const auto b0 = operand<kind>(b, word), b1 = operand<kind>(b + kLanes, word);
#pragma GCC unroll 12
      for (int row = 0; row < ROWS; row++) {
        const auto number = constant(a[row * a_stride + group * kWords<kind> + word]);
        sum[row][0] = add_product<kind>(sum[row][0], number, b0);
        sum[row][1] = add_product<kind>(sum[row][1], number, b1);
      }
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < ROWS; row++) {
    store(sums + row * sums_stride, sum[row][0]);
    store(sums + row * sums_stride + kLanes, sum[row][1]);
  }
}

template <Kind kind, int... SMALLER>
constexpr auto tiles_of(std::integer_sequence<int, SMALLER...>) {
  return std::array{&tile<kind, SMALLER + 1>...};
}
// Indexed by the number of tokens minus one.
template <Kind kind>
constexpr auto kTiles = tiles_of<kind>(std::make_integer_sequence<int, kTileTokens>());

// Calls `work` with ranges of at most kTileTokens tokens, of similar size.
template <class Work>
void for_tiles(Range tokens, Work work) {
  const int64_t count = (tokens.size() + kTileTokens - 1) / kTileTokens;
  for (int64_t index = 0; index < count; index++) work(tokens.part(index, count));
}
