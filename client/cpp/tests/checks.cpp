#include "checks.hpp"

#include <regex.h>

#include <cstdlib>
#include <thread>

#include "small_server.hpp"

namespace sentriton {

namespace {

std::string take_real_url() {
    const char* url = std::getenv("SENTRITON_URL");
    return url == nullptr ? "" : url;
}

const std::string the_real_url = take_real_url();

/// No test takes a setting of its caller's.
class Environment : public testing::Environment {
    void SetUp() override {
        for (const char* name :
             {"URL", "TIMEOUT_S", "STALL_TIMEOUT_S", "PRIORITY", "MAX_IN_FLIGHT", "ON_MODEL_CHANGE", "TLS",
              "ROOT_CERTIFICATES", "CLIENT_CERTIFICATE", "CLIENT_KEY", "SERVER_NAME", "ACCESS_KEY"}) {
            unsetenv((std::string("SENTRITON_") + name).c_str());
        }
    }
};

}  // namespace

const std::string& real_url() { return the_real_url; }

bool matches(const std::string& text, const std::string& expression) {
    regex_t compiled;
    if (regcomp(&compiled, expression.c_str(), REG_EXTENDED | REG_NOSUB) != 0) {
        ADD_FAILURE() << "no regular expression: " << expression;
        return false;
    }
    const bool found = regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
    regfree(&compiled);
    return found;
}

std::vector<std::string> words(std::size_t count) {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < count; ++i) {
        all.push_back("w" + std::to_string(i));
    }
    return all;
}

std::string repeated(const std::string& text, std::size_t times) {
    std::string all;
    for (std::size_t i = 0; i < times; ++i) {
        all += text;
    }
    return all;
}

void expect_words(const Matrix& found, const std::vector<std::string>& sentences) {
    ASSERT_EQ(found.rows(), sentences.size());
    ASSERT_EQ(found.columns(), small_dimension);
    for (std::size_t i = 0; i < sentences.size(); ++i) {
        for (const float value : found[i]) {
            ASSERT_EQ(value, small_value(sentences[i])) << "row " << i;
        }
    }
}

void expect_word(const std::vector<float>& found, const std::string& sentence) {
    EXPECT_EQ(found, std::vector<float>(small_dimension, small_value(sentence)));
}

void expect_time(std::chrono::milliseconds least, std::chrono::milliseconds most, const std::function<void()>& body) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_GE(took, least);
    EXPECT_LE(took, most);
}

void eventually(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + soon;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end) {
            FAIL() << "it does not hold in time";
        }
        std::this_thread::sleep_for(5ms);
    }
}

Variable::Variable(std::string name, const std::string& value) : name_(std::move(name)) {
    setenv(name_.c_str(), value.c_str(), 1);
}

Variable::~Variable() { unsetenv(name_.c_str()); }

}  // namespace sentriton

int main(int count, char** arguments) {
    testing::InitGoogleTest(&count, arguments);
    testing::AddGlobalTestEnvironment(new sentriton::Environment);  // which GoogleTest owns
    return RUN_ALL_TESTS();
}
