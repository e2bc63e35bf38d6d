#include "manifest.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

#include "arguments.hpp"
#include "json.hpp"

namespace sentriton {

namespace {

constexpr int largest_dimension = 65'536;  // far above any encoder's
constexpr int largest_number = 2'147'483'647;

/// A field of manifest.json: the allowed values in words, and a function that reads it; false if the value is not
/// allowed.
struct Field {
    std::string name;
    std::string allowed;
    std::function<bool(const Json&)> read;
};

bool read_text(const Json& value, std::string& to) {
    to = value.string_value();
    return value.kind_case() == Json::kStringValue;
}

bool read_filled(const Json& value, std::string& to) { return read_text(value, to) && !to.empty(); }

bool read_number(const Json& value, double& to) {
    to = value.number_value();
    return value.kind_case() == Json::kNumberValue;
}

bool is_sha256(const std::string& text) {
    const auto is_digit = [](char each) { return ('0' <= each && each <= '9') || ('a' <= each && each <= 'f'); };
    return text.size() == 64 && std::all_of(text.begin(), text.end(), is_digit);
}

Field text(const std::string& name, std::string& to) {
    return {name, "a text", [&to](const Json& value) { return read_filled(value, to); }};
}

Field whole(const std::string& name, int& to, int most) {
    return {name, "a whole number from 1 to " + std::to_string(most), [&to, most](const Json& value) {
                double number = 0;
                if (!read_number(value, number) || std::floor(number) != number || number < 1 || number > most) {
                    return false;
                }
                to = static_cast<int>(number);
                return true;
            }};
}

template <typename Value>
Field object(const std::string& name, const std::string& allowed, std::map<std::string, Value>& to,
             const std::function<bool(const Json&, Value&)>& read, const std::vector<std::string>& keys) {
    return {name, allowed, [&to, read, keys](const Json& value) {
                for (const auto& [key, each] : value.struct_value().fields()) {
                    if (!read(each, to[key])) {
                        return false;
                    }
                }
                const auto is_there = [&](const auto& key) { return to.count(key) != 0; };
                return value.kind_case() == Json::kStructValue && std::all_of(keys.begin(), keys.end(), is_there);
            }};
}

bool read_texts(const Json& value, std::vector<std::string>& to) {
    for (const auto& each : value.list_value().values()) {
        if (!read_filled(each, to.emplace_back())) {
            return false;
        }
    }
    return value.kind_case() == Json::kListValue;
}

bool read_similarity(const Json& value, Similarity& to) {
    static const std::map<std::string, Similarity> all = {{"cosine", Similarity::cosine},
                                                          {"dot", Similarity::dot},
                                                          {"euclidean", Similarity::euclidean},
                                                          {"manhattan", Similarity::manhattan}};
    const auto found = all.find(value.string_value());
    if (found == all.end()) {
        return false;
    }
    to = found->second;
    return true;
}

std::vector<Field> fields_of(Manifest& to) {
    const auto sum = [](const Json& value, std::string& text) { return read_text(value, text) && is_sha256(text); };
    return {
        text("name", to.name),
        text("fingerprint", to.fingerprint),
        whole("dimension", to.dimension, largest_dimension),
        whole("max_seq_length", to.max_seq_length, largest_number),
        whole("vocab_size", to.vocab_size, largest_number),
        whole("max_batch_size", to.max_batch_size, largest_number),
        {"pooling", "a list of strings", [&](const Json& value) { return read_texts(value, to.pooling); }},
        {"include_prompt", "true or false",
         [&](const Json& value) {
             to.include_prompt = value.bool_value();
             return value.kind_case() == Json::kBoolValue;
         }},
        object<std::string>("prompts", "an object of strings", to.prompts, read_text, {}),
        {"default_prompt_name", "a string or null",
         [&](const Json& value) {
             return value.kind_case() == Json::kNullValue || read_text(value, to.default_prompt_name.emplace());
         }},
        {"similarity", "one of cosine, dot, euclidean, manhattan",
         [&](const Json& value) { return read_similarity(value, to.similarity); }},
        text("precision", to.precision),
        text("device", to.device),
        {"min_cosine", "a number from -1 to 1",
         [&](const Json& value) { return read_number(value, to.min_cosine) && std::abs(to.min_cosine) <= 1; }},
        object<double>("parity", "an object of numbers with min_cosine and sentences", to.parity, read_number,
                       {"min_cosine", "sentences"}),
        object<std::string>("files", "an object of sha256 sums with that of tokenizer.json", to.files, sum,
                            {"tokenizer.json"}),
        text("sentriton_version", to.sentriton_version),
    };
}

}  // namespace

Manifest read_manifest(std::string_view content) {
    const Json json = read_json(content);
    if (json.kind_case() != Json::kStructValue) {
        throw std::runtime_error("the manifest is " + shown(json) + "; expected an object");
    }
    const auto& values = json.struct_value().fields();
    Manifest manifest;
    const std::vector<Field> fields = fields_of(manifest);
    std::string missing;
    for (const auto& field : fields) {
        if (values.count(field.name) == 0) {
            missing += (missing.empty() ? "" : ", ") + field.name;
        }
    }
    if (!missing.empty()) {
        throw std::runtime_error("the manifest lacks " + missing);
    }
    for (const auto& field : fields) {
        if (const Json& value = values.at(field.name); !field.read(value)) {
            throw std::runtime_error("the manifest's " + field.name + " is " + shown(value) + "; expected " +
                                     field.allowed);
        }
    }
    const auto& name = manifest.default_prompt_name;
    if (name && manifest.prompts.count(*name) == 0) {
        throw std::runtime_error("the manifest's default_prompt_name is " + quoted(*name) +
                                 "; expected one of its prompts");
    }
    return manifest;
}

}  // namespace sentriton
