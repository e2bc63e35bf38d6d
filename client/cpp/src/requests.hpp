#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentriton {

constexpr std::size_t tokens_per_request = 4096;
constexpr std::size_t special_tokens = 2;           // of a row, with most models
constexpr std::size_t bytes_per_request = 1 << 20;  // of UTF-8: the server's limit

/// The rows of one request: the places of its sentences, and its BYTES tensor.
struct RequestRows {
    std::vector<std::size_t> indices;
    std::string texts;
    std::size_t characters = 0;
};

/// The sentences of a call, checked. A copy owns its texts.
struct Texts {
    std::vector<std::string> owned;
    std::vector<std::string_view> views;
    std::vector<std::size_t> characters;  // of each
    std::vector<std::size_t> order;       // longest first
};

/// Checks the sentences; InvalidInput for one that is not valid UTF-8.
Texts check_texts(const std::vector<std::string_view>& sentences, bool copies);

/// The limits of one request.
struct Limits {
    std::size_t max_rows;
    std::size_t max_seq_length;
    std::string prompt;
};

/// Divides texts into requests of at most `max_rows` rows, 4,096 tokens and 1 MiB of UTF-8, longest first; one row may
/// have more. The server tokenizes, so each character counts as a token, up to `max_seq_length`. At worst, this gives a
/// few more requests.
class Plan {
public:
    Plan(const Texts& texts, Limits limits);
    /// The rows of the next request; null after the last one.
    std::shared_ptr<RequestRows> next();

private:
    const Texts& texts_;
    Limits limits_;
    std::size_t prompt_characters_;
    std::size_t place_ = 0;
};

}  // namespace sentriton
