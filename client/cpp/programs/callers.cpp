// Embeds single sentences in 64 threads: callers URL CONFORMANCE CALLS [SECONDS]
//
// Every caller makes at least CALLS calls and continues for at least SECONDS. "answered" is written to standard output
// with the first 64 answers. The last line is JSON: the number of calls, the failures, and the smallest cosine to the
// golden vectors.

#include <absl/strings/escaping.h>
#include <sentriton/sentriton.hpp>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "json.hpp"

namespace {

constexpr int callers = 64;
using Clock = std::chrono::steady_clock;

struct Found {
    std::mutex mutex;
    int calls = 0;
    sentriton::Json failures;
    double min_cosine = 1;
};

std::vector<float> decode(const std::string& text) {
    std::string raw;
    absl::Base64Unescape(text, &raw);
    std::vector<float> vector(raw.size() / sizeof(float));
    std::memcpy(vector.data(), raw.data(), raw.size());
    return vector;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        sum += static_cast<double>(a[i]) * b[i];
    }
    return sum;
}

void call_once(const sentriton::SentenceEncoder& encoder, const std::string& text, const std::vector<float>& expected,
               Found& found) {
    std::string failure;
    double cosine = 1;
    try {
        const auto vector = encoder.encode_one(text);
        cosine = dot(vector, expected) / std::sqrt(dot(vector, vector) * dot(expected, expected));
    } catch (const sentriton::SentritonError& error) {
        failure = error.what();
    }
    const std::lock_guard lock(found.mutex);
    if (++found.calls == callers) {
        std::puts("answered");
        std::fflush(stdout);
    }
    found.min_cosine = std::min(found.min_cosine, cosine);
    if (!failure.empty()) {
        found.failures.mutable_list_value()->add_values()->set_string_value(failure);
    }
}

}  // namespace

int main(int count, char** arguments) {
    const std::string url = arguments[1];
    std::ifstream stream(arguments[2]);
    const auto file = sentriton::read_json(std::string(std::istreambuf_iterator<char>(stream), {}));
    const int calls = std::stoi(arguments[3]);
    const auto span = std::chrono::duration<double>(count > 4 ? std::stod(arguments[4]) : 0);
    sentriton::Settings settings;
    settings.timeout = std::chrono::seconds(60);
    const sentriton::SentenceEncoder encoder(url, settings);
    encoder.info();
    const auto end = Clock::now() + span;
    Found found;
    found.failures.mutable_list_value();
    std::vector<std::thread> threads;
    const auto& sentences = file.struct_value().fields().at("sentences").list_value().values();
    for (int caller = 0; caller < callers; ++caller) {
        const auto& sentence = sentences[caller].struct_value().fields();
        threads.emplace_back(
            [&, text = sentence.at("text").string_value(), expected = decode(sentence.at("vector").string_value())] {
                for (int made = 0; made < calls || Clock::now() < end; ++made) {
                    call_once(encoder, text, expected, found);
                }
            });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    std::printf("{\"calls\": %d, \"failures\": %s, \"minCosine\": %.9f}\n", found.calls,
                sentriton::to_text(found.failures).c_str(), found.min_cosine);
}
