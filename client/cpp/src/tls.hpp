#pragma once

#include <grpcpp/security/credentials.h>

#include "settings.hpp"

namespace sentriton {

/// The certificates of an encoder; InvalidInput if a file cannot be used.
grpc::SslCredentialsOptions tls_options(const CheckedSettings& settings);

}  // namespace sentriton
