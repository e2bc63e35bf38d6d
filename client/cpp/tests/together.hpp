#pragma once

#include <algorithm>
#include <numeric>

#include "access.hpp"
#include "checks.hpp"
#include "small_server.hpp"

namespace sentriton {

/// Makes calls that wait for each other: the server is silent until all have come. `check` receives the place of each
/// call and the future of its vector.
inline void together(SmallServer& server, const SentenceEncoder& encoder, const std::vector<std::string>& sentences,
                     const std::function<void(std::size_t, std::future<std::vector<float>>&)>& check) {
    encoder.info();
    server.silence(true);
    std::vector<std::future<std::vector<float>>> calls;
    for (const auto& sentence : sentences) {
        calls.push_back(encoder.encode_one_async(sentence));
    }
    eventually([&] {  // all that may have left
        const int left = Access::in_flight(encoder);
        return left == Access::limit(encoder) || (left > 0 && Access::waiting(encoder) == 0);
    });
    server.silence(false);
    for (std::size_t i = 0; i < calls.size(); ++i) {
        check(i, calls[i]);
    }
}

/// `together`, and every call has its own vector.
inline void expect_together(SmallServer& server, const SentenceEncoder& encoder,
                            const std::vector<std::string>& sentences) {
    together(server, encoder, sentences,
             [&](std::size_t place, auto& call) { expect_word(call.get(), sentences[place]); });
}

}  // namespace sentriton
