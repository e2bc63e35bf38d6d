#include "core.hpp"

#include <utility>

namespace sentriton {

Core::Core(CheckedSettings given)
    : settings(std::move(given)),
      endpoints(settings.url),
      window(settings.max_in_flight),
      info(*this),
      joiner(std::make_shared<Joiner>(*this)) {
    for (const auto& address : settings.addresses) {
        endpoints.add(std::make_unique<Connection>(address, settings, loop));
    }
}

Core::~Core() { loop.close(); }

}  // namespace sentriton
