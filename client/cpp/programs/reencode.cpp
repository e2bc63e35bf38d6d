// Reads [[message name, base64]] from standard input, decodes each by the generated code, and writes the list with the
// messages encoded again.

#include <absl/strings/escaping.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include "inference/inference.pb.h"
#include "json.hpp"

namespace {

/// Encodes a message; the entries of a map in the order of their keys.
std::string encode(const google::protobuf::Message& message) {
    std::string raw;
    google::protobuf::io::StringOutputStream stream(&raw);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
    coded.Trim();
    return raw;
}

std::string again(const std::string& name, const std::string& raw) {
    const auto* descriptor = inference::ModelInferRequest::descriptor()->file()->FindMessageTypeByName(name);
    const auto* prototype = google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor);
    const std::unique_ptr<google::protobuf::Message> message(prototype->New());
    if (!message->ParseFromString(raw)) {
        throw std::runtime_error(name + " cannot be read");
    }
    return encode(*message);
}

}  // namespace

int main() {
    const auto given = sentriton::read_json(std::string(std::istreambuf_iterator<char>(std::cin), {}));
    std::string separator = "[";
    for (const auto& each : given.list_value().values()) {
        const std::string name = each.list_value().values(0).string_value();
        std::string raw;
        absl::Base64Unescape(each.list_value().values(1).string_value(), &raw);
        std::printf("%s[\"%s\", \"%s\"]", separator.c_str(), name.c_str(),
                    absl::Base64Escape(again(name, raw)).c_str());
        separator = ", ";
    }
    std::puts("]");
}
