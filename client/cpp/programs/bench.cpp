// Measures an encoder: bench URL CALLERS SECONDS. Standard input has a JSON list of sentences.
//
// It makes one call with all sentences, then lets CALLERS threads make calls of one sentence. For both it writes, as a
// line of JSON, the sentences per second and this process's CPU time per sentence in microseconds.

#include <sentriton/sentriton.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "json.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr std::chrono::seconds warm_up{1};

struct Found {
    double per_s;
    double cpu_us;
};

double cpu_s() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

Found list(const sentriton::SentenceEncoder& encoder, const std::vector<std::string>& sentences) {
    const auto begin = Clock::now();
    const double used = cpu_s();
    encoder.encode(sentences);
    const auto count = static_cast<double>(sentences.size());
    return {count / Seconds(Clock::now() - begin).count(), 1e6 * (cpu_s() - used) / count};
}

Found single(const sentriton::SentenceEncoder& encoder, const std::vector<std::string>& sentences, int callers,
             Seconds span) {
    std::atomic<int> answers{0};
    const auto end = Clock::now() + warm_up + span;
    std::vector<std::thread> threads;
    for (int caller = 0; caller < callers; ++caller) {
        threads.emplace_back([&, place = static_cast<std::size_t>(caller) * 37]() mutable {
            for (; Clock::now() < end; ++place) {
                encoder.encode_one(sentences[place % sentences.size()]);
                ++answers;
            }
        });
    }
    std::this_thread::sleep_for(warm_up);
    const int before = answers;
    const auto begin = Clock::now();
    const double used = cpu_s();
    std::this_thread::sleep_for(span);
    const double count = answers - before;
    const Found found{count / Seconds(Clock::now() - begin).count(), 1e6 * (cpu_s() - used) / count};
    for (auto& thread : threads) {
        thread.join();
    }
    return found;
}

}  // namespace

int main(int, char** arguments) {
    const auto json = sentriton::read_json(std::string(std::istreambuf_iterator<char>(std::cin), {}));
    std::vector<std::string> sentences;
    for (const auto& each : json.list_value().values()) {
        sentences.push_back(each.string_value());
    }
    const sentriton::SentenceEncoder encoder(arguments[1]);
    encoder.encode(std::vector<std::string>(
        sentences.begin(),
        sentences.begin() + std::min<std::ptrdiff_t>(1000, std::distance(sentences.begin(), sentences.end()))));
    const Found all = list(encoder, sentences);
    const Found one = single(encoder, sentences, std::stoi(arguments[2]), Seconds(std::stod(arguments[3])));
    std::printf("{\"list_per_s\": %f, \"list_cpu_us\": %f, \"single_per_s\": %f, \"single_cpu_us\": %f}\n", all.per_s,
                all.cpu_us, one.per_s, one.cpu_us);
}
