#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace sentriton {

/// The codes of gRPC.
enum class StatusCode {
    ok = 0,
    cancelled = 1,
    unknown = 2,
    invalid_argument = 3,
    deadline_exceeded = 4,
    not_found = 5,
    already_exists = 6,
    permission_denied = 7,
    resource_exhausted = 8,
    failed_precondition = 9,
    aborted = 10,
    out_of_range = 11,
    unimplemented = 12,
    internal = 13,
    unavailable = 14,
    data_loss = 15,
    unauthenticated = 16,
};

/// A status of gRPC, with the server's own message.
struct Status {
    StatusCode code;
    std::string message;
};

/// The errors of this library. A message names the given value, the allowed ones and the remedy.
///
///     std::runtime_error
///     └── SentritonError
///         ├── InvalidInput          the caller's argument or request is wrong; a retry cannot help
///         │   └── ContractMismatch  the server has another model than the one that the encoder has read
///         ├── AccessDenied          key or certificate: one side does not trust the other
///         ├── Overloaded            the server's queue is full, or the request waited too long
///         ├── ServerUnavailable     no server answers at the address, or the server is not healthy
///         ├── DeadlineExceeded      the call timed out
///         ├── ServerError           the server failed, or its answer is wrong
///         └── Closed                the encoder is closed
class SentritonError : public std::runtime_error {
public:
    explicit SentritonError(const std::string& message, std::shared_ptr<const Status> status = nullptr)
        : std::runtime_error(message), status_(std::move(status)) {}

    /// The status of gRPC; null if the client itself found the error.
    const Status* status() const noexcept { return status_.get(); }

private:
    std::shared_ptr<const Status> status_;
};

class InvalidInput : public SentritonError {
public:
    using SentritonError::SentritonError;
};

class ContractMismatch : public InvalidInput {
public:
    using InvalidInput::InvalidInput;
};

class AccessDenied : public SentritonError {
public:
    using SentritonError::SentritonError;
};

class Overloaded : public SentritonError {
public:
    using SentritonError::SentritonError;
};

class ServerUnavailable : public SentritonError {
public:
    using SentritonError::SentritonError;
};

class DeadlineExceeded : public SentritonError {
public:
    using SentritonError::SentritonError;
};

class ServerError : public SentritonError {
public:
    using SentritonError::SentritonError;
};

class Closed : public SentritonError {
public:
    using SentritonError::SentritonError;
};

}  // namespace sentriton
