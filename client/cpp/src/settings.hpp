#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clock.hpp"
#include "sentriton/settings.hpp"

namespace sentriton {

constexpr int default_max_in_flight = 16;

/// The checked settings of an encoder. Only this file has the defaults.
struct CheckedSettings {
    std::string url = "localhost:8001";
    std::vector<std::string> addresses;
    std::optional<Duration> timeout;
    Duration stall_timeout = 60s;
    Priority priority = Priority::query;
    int max_in_flight = default_max_in_flight;
    OnModelChange on_model_change = OnModelChange::raise;
    bool tls = false;
    std::string root_certificates;
    std::string client_certificate;
    std::string client_key;
    std::string server_name;
    std::string access_key;
};

/// Takes the given settings, then the environment, then the defaults. InvalidInput for a wrong one.
CheckedSettings resolve_settings(std::string_view url, const Settings& given);

std::string name_of(Priority priority);
Priority priority_named(const std::string& name);
OnModelChange reaction_named(const std::string& name);

}  // namespace sentriton
