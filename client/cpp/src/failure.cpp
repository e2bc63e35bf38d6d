#include "failure.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <string>
#include <utility>

namespace sentriton {

namespace {

// Triton's words, for status codes that say less.
constexpr std::array<std::string_view, 3> overload = {
    "lane is full",
    "exceeds maximum queue size",
    "request timeout expired",
};
// gRPC's and OpenSSL's words for an untrusted server certificate, and for a rejected client certificate.
constexpr std::array<std::string_view, 10> untrusted = {
    "certificate_verify_failed",  // BoringSSL
    "certificate verify failed",  // OpenSSL
    "hostname verification check failed",
    "is not in peer certificate",
    "certificate_required",
    "certificate required",
    "unknown_ca",
    "unknown ca",
    "alert bad certificate",
    "alert certificate",
};
// A message above a limit: words of the gRPC libraries, of Envoy, and for a proxy's HTTP status.
constexpr std::array<std::string_view, 10> too_large = {
    "message larger than max",  "decompression larger than max",
    "a size larger than",       "message exceeds maximum size",
    "message length too large", "maximum configured message size",
    "payload too large",        "status: 413",
    "status code 413",          "server: 413",
};
constexpr std::array<std::string_view, 3> sick = {"is not healthy", "rst_stream", "stream removed"};
constexpr std::string_view restricted = "this protocol is restricted";
// A full /dev/shm: the request was not computed, and answers in flight will free space.
constexpr std::string_view no_room = "failed to increase the shared memory pool size";
// The whole message of a call that a stopping Triton aborts. Calls that this client ends have other messages.
constexpr std::string_view broken_off = "CANCELLED";
constexpr std::string_view mismatch = "fingerprint mismatch";
// The server's words for the text of a request.
constexpr std::string_view in_row = "text in row ";

// In the order of the codes.
constexpr std::array<std::string_view, 17> code_names = {
    "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
};

bool has(std::string_view text, std::string_view words) { return text.find(words) != std::string_view::npos; }

template <typename Words>
bool has_any(std::string_view text, const Words& all) {
    return std::any_of(all.begin(), all.end(), [&](std::string_view words) { return has(text, words); });
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char each) { return std::tolower(each); });
    return text;
}

Kind unavailable_kind(std::string_view text) {
    if (has_any(text, overload)) {
        return Kind::overloaded;
    }
    return has(text, restricted) || has_any(text, untrusted) ? Kind::access_denied : Kind::server_unavailable;
}

Kind kind_of(StatusCode code, const std::string& message) {
    const std::string text = lower(message);
    switch (code) {
        case StatusCode::invalid_argument:
            return has(text, mismatch) ? Kind::contract_mismatch : Kind::invalid_input;
        case StatusCode::deadline_exceeded:
            return Kind::deadline_exceeded;
        case StatusCode::permission_denied:
        case StatusCode::unauthenticated:
            return Kind::access_denied;
        case StatusCode::resource_exhausted:
            return has_any(text, too_large) ? Kind::invalid_input : Kind::overloaded;
        case StatusCode::unavailable:
        case StatusCode::not_found:
            return unavailable_kind(text);
        default:
            break;
    }
    if (has_any(text, too_large)) {
        return Kind::invalid_input;
    }
    if (has(text, no_room)) {
        return Kind::overloaded;
    }
    const bool ends = code == StatusCode::cancelled && message == broken_off;
    return ends || has_any(text, sick) ? Kind::server_unavailable : Kind::server_error;
}

/// The reason of a missing connection, without gRPC's words before it.
std::string reason_of(const Status& status) {
    constexpr std::string_view before = "last error: ";
    const auto place = status.message.find(before);
    std::string reason = place == std::string::npos ? status.message : status.message.substr(place + before.size());
    return reason.empty() ? std::string(code_names.at(static_cast<std::size_t>(status.code))) : reason;
}

/// The cause and the remedy for a certificate.
std::string distrust(const std::string& reason) {
    const std::string text = lower(reason);
    if (has(text, "hostname") || has(text, "is not in peer certificate")) {
        return "the server's certificate has another name; give that as server_name (" + reason + ")";
    }
    if (has(text, "verify")) {
        return "no authority that this client trusts signed the server's certificate; give the PEM file of one that "
               "did as "
               "root_certificates (" +
               reason + ")";
    }
    return "the server does not accept the client's certificate; give client_certificate and client_key (" + reason +
           ")";
}

/// Writes 20000 as 20,000.
std::string grouped(std::size_t number) {
    std::string digits = std::to_string(number);
    for (std::size_t place = digits.size(); place > 3;) {
        place -= 3;
        digits.insert(place, ",");
    }
    return digits;
}

}  // namespace

Failure Failure::of_wrong_answer(const std::string& address) const {
    return {kind, "wrong answer from " + address + ": " + message, status};
}

Failure Failure::of_rows(const std::vector<std::size_t>& indices) const {
    const auto begin = message.find(in_row);
    if (kind != Kind::invalid_input || begin == std::string::npos) {
        return *this;
    }
    const auto number = begin + in_row.size();
    std::size_t row = indices.size();
    const char* end = std::from_chars(message.data() + number, message.data() + message.size(), row).ptr;
    if (row >= indices.size()) {
        return *this;
    }
    return {kind, message.substr(0, begin) + "sentences[" + std::to_string(indices[row]) + "]" + end, status};
}

Failure Failure::with_progress(std::size_t finished, std::size_t total) const {
    if (total <= 1) {
        return *this;
    }
    return {kind, message + " (" + grouped(finished) + " of " + grouped(total) + " sentences were embedded)", status};
}

Failure invalid_input(std::string message) { return {Kind::invalid_input, std::move(message)}; }

Failure server_error(std::string message) { return {Kind::server_error, std::move(message)}; }

Failure closed_failure() { return {Kind::closed, "this encoder is closed; make a new one"}; }

Failure translate(const Status& status, const std::string& address) {
    const Kind kind = kind_of(status.code, status.message);
    std::string reason = reason_of(status);
    if (kind == Kind::server_unavailable) {
        if (has(lower(reason), "failed to connect")) {
            reason += "; is it running? `sentriton serve` on that machine starts it";
        }
        reason = "no answer from " + address + ": " + reason;
    } else if (kind == Kind::access_denied) {
        if (has(reason, "access-key")) {
            reason += "; give the server's key by access_key or $SENTRITON_ACCESS_KEY";
        } else if (has_any(lower(reason), untrusted)) {
            reason = distrust(reason);
        }
        reason = "no access to " + address + ": " + reason;
    } else if (kind == Kind::invalid_input && status.code != StatusCode::invalid_argument) {
        reason = "a message to or from " + address + " is too large: " + reason +
                 "; lower batch_size or shorten the sentences, or raise this limit of the server or proxy";
    } else if (kind == Kind::deadline_exceeded) {
        reason = address + " did not answer in time: " + reason;
    }
    return {kind, reason, std::make_shared<const Status>(status)};
}

void raise(const Failure& failure) {
    switch (failure.kind) {
        case Kind::invalid_input:
            throw InvalidInput(failure.message, failure.status);
        case Kind::contract_mismatch:
            throw ContractMismatch(failure.message, failure.status);
        case Kind::access_denied:
            throw AccessDenied(failure.message, failure.status);
        case Kind::overloaded:
            throw Overloaded(failure.message, failure.status);
        case Kind::server_unavailable:
            throw ServerUnavailable(failure.message, failure.status);
        case Kind::deadline_exceeded:
            throw DeadlineExceeded(failure.message, failure.status);
        case Kind::closed:
            throw Closed(failure.message, failure.status);
        case Kind::server_error:
            break;
    }
    throw ServerError(failure.message, failure.status);
}

std::exception_ptr exception_of(const Failure& failure) {
    try {
        raise(failure);
    } catch (...) {
        return std::current_exception();
    }
}

}  // namespace sentriton
