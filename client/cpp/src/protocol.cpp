#include "protocol.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "arguments.hpp"
#include "inference/inference.pb.h"
#include "settings.hpp"

namespace sentriton {

namespace {

using Request = inference::ModelInferRequest;
using Response = inference::ModelInferResponse;

Request bytes_request(const std::string& model, const std::string& name, const std::vector<std::int64_t>& shape,
                      const std::string& content) {
    Request request;
    request.set_model_name(model);
    auto* input = request.add_inputs();
    input->set_name(name);
    input->set_datatype("BYTES");
    input->mutable_shape()->Add(shape.begin(), shape.end());
    request.add_raw_input_contents(content);
    return request;
}

std::uint32_t read_number(const char* raw) {
    const auto byte = [&](int place) { return static_cast<std::uint32_t>(static_cast<unsigned char>(raw[place])); };
    return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
}

/// Writes a shape as [3, 4].
template <typename Numbers>
std::string shown_shape(const Numbers& shape) {
    std::string text = "[";
    for (const auto& each : shape) {
        text += (text.size() > 1 ? ", " : "") + std::to_string(each);
    }
    return text + "]";
}

struct Output {
    const Response::InferOutputTensor* tensor;
    std::string_view raw;
};

/// The output of this name, which must have this datatype and come from this model.
Result<Output> find_output(const Response& response, const std::string& name, const std::string& datatype,
                           const std::string& model) {
    if (response.model_name() != model) {
        return server_error("the server sent an answer of the model " + quoted(response.model_name()) + "; expected " +
                            model);
    }
    std::string names;
    int place = 0;
    int count = 0;
    for (int i = 0; i < response.outputs_size(); ++i) {
        names += (i == 0 ? "" : ", ") + quoted(response.outputs(i).name());
        if (response.outputs(i).name() == name) {
            place = i;
            ++count;
        }
    }
    const int contents = response.raw_output_contents_size();
    if (count != 1 || contents != response.outputs_size()) {
        return server_error("the server sent the outputs " + (names.empty() ? "none" : names) + " with " +
                            std::to_string(contents) + " contents; expected " + name +
                            " once, and a content for each output");
    }
    const auto& found = response.outputs(place);
    if (found.datatype() != datatype) {
        return server_error("the server sent " + name + " as " + quoted(found.datatype()) + "; expected " + datatype);
    }
    return Output{&found, response.raw_output_contents(place)};
}

}  // namespace

Request text_request(const std::string& texts, std::size_t rows, const Parameters& parameters) {
    Request request = bytes_request("embed_text", "text", {static_cast<std::int64_t>(rows), 1}, texts);
    auto& map = *request.mutable_parameters();
    map["fingerprint"].set_string_param(parameters.fingerprint);
    map["lane"].set_string_param(name_of(parameters.priority));
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(parameters.left).count();
    map["timeout"].set_int64_param(std::max<std::int64_t>(1, microseconds));
    return request;
}

Request asset_request(const std::string& name) {
    std::string content;
    push_element(content, "", name);
    return bytes_request("assets", "name", {1}, content);
}

void push_element(std::string& tensor, std::string_view prompt, std::string_view text) {
    const auto size = static_cast<std::uint32_t>(prompt.size() + text.size());  // the server rejects far smaller ones
    for (int shift = 0; shift < 32; shift += 8) {
        tensor.push_back(static_cast<char>(size >> shift & 0xff));
    }
    tensor.append(prompt).append(text);
}

Result<std::string_view> read_embeddings(const Response& response, std::size_t rows, std::size_t dimension) {
    auto found = find_output(response, "sentence_embedding", "FP32", "embed_text");
    if (auto* failure = std::get_if<Failure>(&found)) {
        return *failure;
    }
    const auto& [tensor, raw] = std::get<Output>(found);
    const auto& shape = tensor->shape();
    const auto is = [&](int place, std::size_t size) { return shape.Get(place) == static_cast<std::int64_t>(size); };
    if (shape.size() != 2 || !is(0, rows) || !is(1, dimension)) {
        return server_error("the server sent a sentence_embedding of shape " + shown_shape(shape) + "; expected " +
                            shown_shape(std::vector{rows, dimension}));
    }
    if (raw.size() != rows * dimension * 4) {
        return server_error("the server sent " + std::to_string(raw.size()) +
                            " bytes for a sentence_embedding; expected " + std::to_string(rows * dimension * 4));
    }
    return raw;
}

bool decode_row(float* row, std::size_t columns, std::string_view raw) {
    constexpr std::uint32_t exponent = 0x7f800000;  // NaN and infinity have all bits of it
    bool finite = true;
    for (std::size_t place = 0; 4 * place + 4 <= raw.size(); ++place) {
        const std::uint32_t bits = read_number(raw.data() + 4 * place);
        finite &= (bits & exponent) != exponent;
        if (place < columns) {
            std::memcpy(row + place, &bits, sizeof bits);
        }
    }
    return finite;
}

Failure not_finite(std::size_t row) {
    return server_error("the server sent a sentence_embedding with NaN or infinity in row " + std::to_string(row) +
                        "; expected numbers");
}

Result<std::string_view> read_asset(const Response& response) {
    auto found = find_output(response, "content", "BYTES", "assets");
    if (auto* failure = std::get_if<Failure>(&found)) {
        return *failure;
    }
    const auto& [tensor, raw] = std::get<Output>(found);
    const auto& shape = tensor->shape();
    const bool one = shape.size() == 1 && shape.Get(0) == 1;
    if (!one || raw.size() < 4 || read_number(raw.data()) != raw.size() - 4) {
        std::string begin = "0x";
        for (const char each : raw.substr(0, 4)) {
            char digits[3];
            std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(each));
            begin += digits;
        }
        return server_error("the server sent an asset of shape " + shown_shape(shape) + " in " +
                            std::to_string(raw.size()) + " bytes that begin with " + begin +
                            "; expected shape [1], the first 4 bytes being the length of the rest");
    }
    return raw.substr(4);
}

}  // namespace sentriton
