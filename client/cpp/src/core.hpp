#pragma once

#include <memory>
#include <string_view>

#include "endpoints.hpp"
#include "info.hpp"
#include "joiner.hpp"
#include "loop.hpp"
#include "pacing.hpp"
#include "settings.hpp"

namespace sentriton {

/// The state that all calls of one encoder share. All but `settings` and `loop` belongs to the loop's thread.
class Core {
public:
    explicit Core(CheckedSettings given);
    ~Core();

    const CheckedSettings settings;
    Loop loop;
    Endpoints endpoints;
    RetryBudget budget;
    Window window;  // for the next call
    Info info;
    std::shared_ptr<Joiner> joiner;
};

}  // namespace sentriton
