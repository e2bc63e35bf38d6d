#include "arguments.hpp"

#include <cmath>
#include <cstdio>

namespace sentriton {

namespace {

/// The length of the UTF-8 character at the beginning of `text`, or 0 if it is invalid.
std::size_t length_of_character(std::string_view text) {
    const auto byte = [&](std::size_t place) {
        return place < text.size() ? static_cast<unsigned char>(text[place]) : static_cast<unsigned char>(0);
    };
    const auto follows = [&](std::size_t place) { return (byte(place) & 0xc0) == 0x80; };
    const unsigned char first = byte(0);
    const unsigned char second = byte(1);
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4) {  // a following byte, an overlong form, or above U+10FFFF
        return 0;
    }
    if (first < 0xe0) {
        return follows(1) ? 2 : 0;
    }
    if (first < 0xf0) {
        const bool wrong = (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0);
        return !wrong && follows(1) && follows(2) ? 3 : 0;
    }
    const bool wrong = (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90);
    return !wrong && follows(1) && follows(2) && follows(3) ? 4 : 0;
}

Failure not_utf8(std::string_view text, std::size_t place, std::size_t characters, const std::string& name) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const bool surrogate = place + 1 < text.size() && byte(place) == 0xed && byte(place + 1) >= 0xa0;
    char hexadecimal[8];
    std::snprintf(hexadecimal, sizeof hexadecimal, "0x%02x", byte(place));
    return invalid_input(name + " has the byte " + hexadecimal + " at position " + std::to_string(place) +
                         " (character " + std::to_string(characters) + "), which " +
                         (surrogate ? "begins a surrogate, half of a UTF-16 pair" : "is not UTF-8 there") +
                         "; give valid UTF-8");
}

}  // namespace

std::size_t count_characters(std::string_view text, const std::string& name) {
    std::size_t characters = 0;
    for (std::size_t place = 0; place < text.size(); ++characters) {
        const std::size_t length = length_of_character(text.substr(place, 4));
        if (length == 0) {
            raise(not_utf8(text, place, characters, name));
        }
        place += length;
    }
    return characters;
}

void check_whole(const std::string& name, int value, std::optional<int> most) {
    if (value >= 1 && (!most || value <= *most)) {
        return;
    }
    const std::string allowed = most ? "1 to " + std::to_string(*most) : "whole numbers from 1";
    raise(invalid_input(name + " is " + std::to_string(value) + "; allowed are " + allowed));
}

Duration checked_time(const std::string& name, Seconds value) {
    if (!(value.count() > 0)) {
        raise(invalid_input(name + " is " + shown(value) + "; allowed are times above 0"));
    }
    return to_duration(value);
}

std::string quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

}  // namespace sentriton
