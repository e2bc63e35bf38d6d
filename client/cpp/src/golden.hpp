#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "sentriton/matrix.hpp"

namespace sentriton {

/// golden.json of a server: sentences with the vectors of sentence-transformers.
struct Golden {
    std::vector<std::string> sentences;
    Matrix embeddings;
};

/// Reads golden.json; std::runtime_error if it is content other than sentences, at least one, each with a vector of
/// `dimension` finite numbers.
Golden read_golden(std::string_view content, std::size_t dimension);

}  // namespace sentriton
