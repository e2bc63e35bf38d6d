#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "clock.hpp"
#include "failure.hpp"

namespace inference {
class ModelInferRequest;
class ModelInferResponse;
}  // namespace inference

namespace sentriton {

/// The parameters of a request to embed_text.
struct Parameters {
    const std::string& fingerprint;  // the expected model
    Priority priority;               // the lane
    Duration left;                   // the longest wait in the server's queue
};

/// A request to embed_text: text BYTES [rows, 1], which `texts` has as the elements of that tensor.
inference::ModelInferRequest text_request(const std::string& texts, std::size_t rows, const Parameters& parameters);

/// A request to assets: name BYTES [1].
inference::ModelInferRequest asset_request(const std::string& name);

/// Appends an element of a BYTES tensor: its length as 4 bytes, little-endian, then its UTF-8.
void push_element(std::string& tensor, std::string_view prompt, std::string_view text);

/// The bytes of the sentence_embedding of a response of embed_text: FP32 [rows, dimension]. Numbers are checked row by
/// row: see `decode_row`.
Result<std::string_view> read_embeddings(const inference::ModelInferResponse& response, std::size_t rows,
                                         std::size_t dimension);

/// Fills `row`, of `columns` numbers, with the first of these floats of 4 bytes, little-endian; false if any of them is
/// NaN or infinity.
bool decode_row(float* row, std::size_t columns, std::string_view raw);
Failure not_finite(std::size_t row);

/// The content of a response of assets: BYTES [1].
Result<std::string_view> read_asset(const inference::ModelInferResponse& response);

}  // namespace sentriton
