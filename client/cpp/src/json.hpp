#pragma once

#include <google/protobuf/struct.pb.h>

#include <string>
#include <string_view>

namespace sentriton {

/// A JSON value, read by protobuf, which is a dependency anyway.
using Json = google::protobuf::Value;

/// Reads JSON; std::runtime_error if it is invalid.
Json read_json(std::string_view content);

/// Writes a value.
std::string to_text(const Json& value);

/// At most 200 bytes of a value, for a message.
std::string shown(const Json& value);

}  // namespace sentriton
