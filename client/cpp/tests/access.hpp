#pragma once

#include <future>

#include "core.hpp"
#include "sentriton/encoder.hpp"

namespace sentriton {

/// Looks inside an encoder.
struct Access {
    static Core& core(const SentenceEncoder& encoder) { return *encoder.core_; }

    /// The result of a function of the core, which runs in the loop's thread.
    template <typename Look>
    static auto in(const SentenceEncoder& encoder, Look look) {
        Core& core = *encoder.core_;
        std::promise<decltype(look(core))> found;
        core.loop.post([&] { found.set_value(look(core)); });
        return found.get_future().get();
    }

    static std::size_t waiting(const SentenceEncoder& encoder) {
        return in(encoder, [](Core& core) { return core.joiner->waiting(); });
    }
    static int in_flight(const SentenceEncoder& encoder) {
        return in(encoder, [](Core& core) { return core.joiner->in_flight(); });
    }
    static int limit(const SentenceEncoder& encoder) {
        return in(encoder, [](Core& core) { return core.joiner->window().limit(); });
    }
    static double tokens(const SentenceEncoder& encoder) {
        return in(encoder, [](Core& core) { return core.budget.left(); });
    }
};

}  // namespace sentriton
