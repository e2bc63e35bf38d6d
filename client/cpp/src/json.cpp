#include "json.hpp"

#include <google/protobuf/util/json_util.h>

#include <stdexcept>
#include <string>

namespace sentriton {

Json read_json(std::string_view content) {
    Json value;
    const auto read = google::protobuf::util::JsonStringToMessage(std::string(content), &value);
    if (!read.ok()) {
        throw std::runtime_error("it is not JSON: " + std::string(read.message()).substr(0, 200));
    }
    return value;
}

std::string to_text(const Json& value) {
    std::string text;
    if (!google::protobuf::util::MessageToJsonString(value, &text).ok()) {
        text = "a value that is not JSON";
    }
    return text;
}

std::string shown(const Json& value) { return to_text(value).substr(0, 200); }

}  // namespace sentriton
