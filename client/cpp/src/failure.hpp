#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sentriton/errors.hpp"

namespace sentriton {

/// The classes of errors.
enum class Kind {
    invalid_input,
    contract_mismatch,
    access_denied,
    overloaded,
    server_unavailable,
    deadline_exceeded,
    server_error,
    closed,
};

/// An error, which is thrown in the caller's thread.
struct Failure {
    Kind kind;
    std::string message;
    std::shared_ptr<const Status> status = nullptr;  // null: the client itself found it

    /// Adds the server of an answer that the client rejected.
    Failure of_wrong_answer(const std::string& address) const;
    /// Names the sentence in an error of the server that names a row of a request for the sentences at `indices`.
    Failure of_rows(const std::vector<std::size_t>& indices) const;
    /// Adds the progress of a call with several sentences.
    Failure with_progress(std::size_t finished, std::size_t total) const;
};

/// A value, or the reason that it is missing.
template <typename Value>
using Result = std::variant<Value, Failure>;

Failure invalid_input(std::string message);
Failure server_error(std::string message);
Failure closed_failure();

/// The error for a status of gRPC, with the server's message and address.
Failure translate(const Status& status, const std::string& address);

/// Throws the exception of the failure's class.
[[noreturn]] void raise(const Failure& failure);
std::exception_ptr exception_of(const Failure& failure);

template <typename Value>
Value value_or_raise(Result<Value>&& result) {
    if (const auto* failure = std::get_if<Failure>(&result)) {
        raise(*failure);
    }
    return std::get<Value>(std::move(result));
}

}  // namespace sentriton
