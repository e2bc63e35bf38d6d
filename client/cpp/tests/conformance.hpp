#pragma once

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "failure.hpp"
#include "inference/inference.pb.h"
#include "json.hpp"

namespace sentriton {

/// tests/polyglot/conformance.json: see docs/client-authors.md.
class Conformance {
public:
    Conformance();

    const std::vector<std::string>& texts() const { return texts_; }
    const std::vector<std::vector<float>>& vectors() const { return vectors_; }
    double min_cosine() const { return at("min_cosine").number_value(); }
    const Json& at(const std::string& name) const { return json_.struct_value().fields().at(name); }

    /// Code, message and class of errors.
    std::vector<std::tuple<std::string, std::string, std::string>> statuses() const;
    /// Names of cases and answers.
    std::vector<std::pair<std::string, inference::ModelInferResponse>> answers() const;
    /// Fields of the manifest and their wrong JSON.
    std::vector<std::pair<std::string, std::string>> wrong_fields() const;

private:
    Json json_;
    std::vector<std::string> texts_;
    std::vector<std::vector<float>> vectors_;
};

const Conformance& conformance();

std::vector<float> decode_vector(const std::string& text);
std::string decode_base64(const std::string& text);

/// A code by gRPC's name of it.
StatusCode code_named(const std::string& name);

/// Whether the exception of a failure is exactly of this class.
bool is_of_class(const Failure& failure, const std::string& name);
bool is_of_class(const std::exception& error, const std::string& name);

}  // namespace sentriton
