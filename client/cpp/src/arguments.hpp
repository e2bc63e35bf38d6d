#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "clock.hpp"
#include "failure.hpp"

namespace sentriton {

/// The number of characters of a text; InvalidInput, with `name` in its message, if it is not valid UTF-8.
std::size_t count_characters(std::string_view text, const std::string& name);

/// Refuses numbers below 1 and above `most`.
void check_whole(const std::string& name, int value, std::optional<int> most = std::nullopt);

/// Refuses a time that is not above 0.
Duration checked_time(const std::string& name, Seconds value);

/// A text in quotes.
std::string quoted(std::string_view text);

}  // namespace sentriton
