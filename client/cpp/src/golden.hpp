#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "sentriton/matrix.hpp"

namespace sentriton {

/// golden.json of a server: sentences, and the vectors that sentence-transformers makes of them.
struct Golden {
    std::vector<std::string> sentences;
    Matrix embeddings;
};

/// Reads golden.json; std::runtime_error if it is anything but sentences, at least one, with a vector of `dimension`
/// finite numbers for each.
Golden read_golden(std::string_view content, std::size_t dimension);

}  // namespace sentriton
