#pragma once

#include <string_view>

#include "sentriton/manifest.hpp"

namespace sentriton {

/// Reads manifest.json. The std::runtime_error of a wrong one names the missing or wrong field. Fields of a newer
/// server that this client does not know are ignored.
Manifest read_manifest(std::string_view content);

}  // namespace sentriton
