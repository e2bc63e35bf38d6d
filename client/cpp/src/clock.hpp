#pragma once

#include <algorithm>
#include <chrono>
#include <string>

#include "sentriton/settings.hpp"

namespace sentriton {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
using Duration = Clock::duration;

using namespace std::chrono_literals;

constexpr Duration longest_time = 100 * 365 * 24h;  // of a setting; far below the limit of a Time

/// A setting's time as a duration of the clock.
inline Duration to_duration(Seconds value) {
    const Seconds bounded = std::min<Seconds>(value, longest_time);
    return std::max<Duration>(std::chrono::duration_cast<Duration>(bounded), 1ns);
}

/// Writes a time as text, such as 1.5 s.
inline std::string shown(Seconds value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g s", value.count());
    return text;
}

}  // namespace sentriton
