#pragma once

#include <string>

namespace sentriton {

/// A certificate of localhost, its own authority, and its key: as PEM and as files.
struct Certificate {
    explicit Certificate(const std::string& name);

    std::string certificate;
    std::string key;
    std::string certificate_file;
    std::string key_file;
};

}  // namespace sentriton
