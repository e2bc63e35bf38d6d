#include "golden.hpp"

#include <cmath>
#include <stdexcept>

#include "json.hpp"

namespace sentriton {

namespace {

const Json& field(const Json& json, const std::string& name) {
    const auto& fields = json.struct_value().fields();
    const auto found = fields.find(name);
    return found == fields.end() ? Json::default_instance() : found->second;
}

}  // namespace

Golden read_golden(std::string_view content, std::size_t dimension) {
    const Json json = read_json(content);
    Golden golden;
    for (const auto& each : field(json, "sentences").list_value().values()) {
        if (each.kind_case() != Json::kStringValue) {
            throw std::runtime_error("one of its sentences is " + shown(each) + "; expected a string");
        }
        golden.sentences.push_back(each.string_value());
    }
    if (golden.sentences.empty()) {
        throw std::runtime_error("it has no list of sentences");
    }
    golden.embeddings = Matrix(golden.sentences.size(), dimension);
    const auto& rows = field(json, "sentence_embedding").list_value().values();
    bool right = rows.size() == static_cast<int>(golden.sentences.size());
    float* place = golden.embeddings.data();
    for (auto row = rows.begin(); right && row != rows.end(); ++row) {
        right = row->list_value().values_size() == static_cast<int>(dimension);
        for (auto each = row->list_value().values().begin(); right && each != row->list_value().values().end();
             ++each) {
            *place = static_cast<float>(each->number_value());
            right = each->kind_case() == Json::kNumberValue && std::isfinite(*place++);
        }
    }
    if (!right) {
        throw std::runtime_error("its sentence_embedding must be finite numbers of shape [" +
                                 std::to_string(golden.sentences.size()) + ", " + std::to_string(dimension) + "]");
    }
    return golden;
}

}  // namespace sentriton
