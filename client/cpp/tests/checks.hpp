#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include "sentriton/sentriton.hpp"

namespace sentriton {

using namespace std::chrono_literals;

/// A busy machine is far below it, and a client that waits for its default of 60 s is above.
constexpr auto soon = 30s;

/// $SENTRITON_URL, which is unset for the tests: the server of the conformance cases, or empty.
const std::string& real_url();

/// Whether an extended regular expression is in the text.
bool matches(const std::string& text, const std::string& expression);

/// Checks class and message of the error of a call: `says` is a regular expression.
template <typename Error>
void expect_error(const std::function<void()>& call, const std::string& says) {
    try {
        call();
        ADD_FAILURE() << "no error; expected " << says;
    } catch (const Error& error) {
        EXPECT_TRUE(matches(error.what(), says)) << error.what() << "\nexpected: " << says;
    } catch (const std::exception& error) {
        ADD_FAILURE() << "an error of another class: " << error.what() << "\nexpected: " << says;
    }
}

/// The sentences of a small server: w0, w1 and so on.
std::vector<std::string> words(std::size_t count);

std::string repeated(const std::string& text, std::size_t times);

/// Checks that these are the vectors of a small server.
void expect_words(const Matrix& found, const std::vector<std::string>& sentences);
void expect_word(const std::vector<float>& found, const std::string& sentence);

/// Checks that the body takes so long.
void expect_time(std::chrono::milliseconds least, std::chrono::milliseconds most, const std::function<void()>& body);

/// Waits until something holds.
void eventually(const std::function<bool()>& holds);

/// Runs something in a thread of its own. The future of the result waits for it.
template <typename Body>
auto at_once(Body body) {
    return std::async(std::launch::async, std::move(body));
}

/// Sets a variable of the environment for a scope.
class Variable {
public:
    Variable(std::string name, const std::string& value);
    ~Variable();
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;

private:
    std::string name_;
};

}  // namespace sentriton
