#include "conformance.hpp"

#include <absl/strings/escaping.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <typeinfo>

namespace sentriton {

namespace {

const Json& field(const Json& json, const std::string& name) { return json.struct_value().fields().at(name); }

}  // namespace

Conformance::Conformance() {
    std::ifstream stream(SENTRITON_CONFORMANCE);
    json_ = read_json(std::string(std::istreambuf_iterator<char>(stream), {}));
    for (const auto& sentence : at("sentences").list_value().values()) {
        std::string text;
        for (int i = 0; i < static_cast<int>(field(sentence, "times").number_value()); ++i) {
            text += field(sentence, "text").string_value();
        }
        texts_.push_back(text);
        vectors_.push_back(decode_vector(field(sentence, "vector").string_value()));
    }
}

std::vector<std::tuple<std::string, std::string, std::string>> Conformance::statuses() const {
    std::vector<std::tuple<std::string, std::string, std::string>> all;
    for (const auto& each : at("statuses").list_value().values()) {
        const auto& parts = each.list_value().values();
        all.emplace_back(parts[0].string_value(), parts[1].string_value(), parts[2].string_value());
    }
    return all;
}

std::vector<std::pair<std::string, inference::ModelInferResponse>> Conformance::answers() const {
    std::vector<std::pair<std::string, inference::ModelInferResponse>> all;
    for (const auto& each : at("answers").list_value().values()) {
        auto& [name, response] = all.emplace_back();
        name = field(each, "case").string_value();
        response.set_model_name(field(each, "model_name").string_value());
        auto* output = response.add_outputs();
        output->set_name(field(each, "name").string_value());
        output->set_datatype(field(each, "datatype").string_value());
        for (const auto& size : field(each, "shape").list_value().values()) {
            output->add_shape(static_cast<std::int64_t>(size.number_value()));
        }
        response.add_raw_output_contents(decode_base64(field(each, "content").string_value()));
    }
    return all;
}

std::vector<std::pair<std::string, std::string>> Conformance::wrong_fields() const {
    std::vector<std::pair<std::string, std::string>> all;
    for (const auto& each : at("wrong_fields").list_value().values()) {
        all.emplace_back(each.list_value().values(0).string_value(), to_text(each.list_value().values(1)));
    }
    return all;
}

const Conformance& conformance() {
    static const Conformance loaded;
    return loaded;
}

std::string decode_base64(const std::string& text) {
    std::string raw;
    absl::Base64Unescape(text, &raw);
    return raw;
}

std::vector<float> decode_vector(const std::string& text) {
    const std::string raw = decode_base64(text);
    std::vector<float> vector(raw.size() / sizeof(float));
    std::memcpy(vector.data(), raw.data(), raw.size());
    return vector;
}

StatusCode code_named(const std::string& name) {
    static const std::map<std::string, StatusCode> all = {{"CANCELLED", StatusCode::cancelled},
                                                          {"UNKNOWN", StatusCode::unknown},
                                                          {"INVALID_ARGUMENT", StatusCode::invalid_argument},
                                                          {"DEADLINE_EXCEEDED", StatusCode::deadline_exceeded},
                                                          {"NOT_FOUND", StatusCode::not_found},
                                                          {"ALREADY_EXISTS", StatusCode::already_exists},
                                                          {"PERMISSION_DENIED", StatusCode::permission_denied},
                                                          {"RESOURCE_EXHAUSTED", StatusCode::resource_exhausted},
                                                          {"FAILED_PRECONDITION", StatusCode::failed_precondition},
                                                          {"ABORTED", StatusCode::aborted},
                                                          {"OUT_OF_RANGE", StatusCode::out_of_range},
                                                          {"UNIMPLEMENTED", StatusCode::unimplemented},
                                                          {"INTERNAL", StatusCode::internal},
                                                          {"UNAVAILABLE", StatusCode::unavailable},
                                                          {"DATA_LOSS", StatusCode::data_loss},
                                                          {"UNAUTHENTICATED", StatusCode::unauthenticated}};
    return all.at(name);
}

bool is_of_class(const Failure& failure, const std::string& name) {
    try {
        raise(failure);
    } catch (const std::exception& error) {
        return is_of_class(error, name);
    }
}

bool is_of_class(const std::exception& error, const std::string& name) {
    const std::map<std::string, const std::type_info*> all = {{"InvalidInput", &typeid(InvalidInput)},
                                                              {"ContractMismatch", &typeid(ContractMismatch)},
                                                              {"AccessDenied", &typeid(AccessDenied)},
                                                              {"Overloaded", &typeid(Overloaded)},
                                                              {"ServerUnavailable", &typeid(ServerUnavailable)},
                                                              {"DeadlineExceeded", &typeid(DeadlineExceeded)},
                                                              {"ServerError", &typeid(ServerError)}};
    return typeid(error) == *all.at(name);
}

}  // namespace sentriton
