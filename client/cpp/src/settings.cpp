#include "settings.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "arguments.hpp"
#include "failure.hpp"

namespace sentriton {

namespace {

std::string variable(const std::string& name) {
    const char* value = std::getenv(("SENTRITON_" + name).c_str());
    return value == nullptr ? "" : value;
}

[[noreturn]] void refuse(const std::string& name, const std::string& text, const std::string& allowed) {
    raise(invalid_input("$SENTRITON_" + name + " is " + quoted(text) + "; allowed are " + allowed));
}

std::string text_or_variable(const std::string& given, const std::string& name) {
    return given.empty() ? variable(name) : given;
}

/// A path with the home folder in place of ~ at its beginning.
std::string path_or_variable(const std::string& given, const std::string& name) {
    const std::string path = text_or_variable(given, name);
    const char* home = std::getenv("HOME");
    const bool below_home = home != nullptr && (path == "~" || path.compare(0, 2, "~/") == 0);
    return below_home ? home + path.substr(1) : path;
}

std::optional<Duration> time(const std::optional<Seconds>& given, const std::string& setting, const std::string& name) {
    if (given) {
        return checked_time(setting, *given);
    }
    const std::string text = variable(name);
    if (text.empty()) {
        return std::nullopt;
    }
    char* end = nullptr;
    const double seconds = std::strtod(text.c_str(), &end);
    if (*end != '\0' || !(seconds > 0) || std::isinf(seconds)) {
        refuse(name, text, "finite numbers above 0");
    }
    return to_duration(Seconds(seconds));
}

int resolve_max_in_flight(const std::optional<int>& given) {
    if (given) {
        check_whole("max_in_flight", *given);
        return *given;
    }
    const std::string text = variable("MAX_IN_FLIGHT");
    if (text.empty()) {
        return default_max_in_flight;
    }
    int number = 0;
    const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (wrong != std::errc() || end != text.data() + text.size() || number < 1) {
        refuse("MAX_IN_FLIGHT", text, "whole numbers from 1");
    }
    return number;
}

bool resolve_tls(const std::optional<bool>& given) {
    if (given) {
        return *given;
    }
    const std::string text = variable("TLS");
    std::string word = text;
    std::transform(word.begin(), word.end(), word.begin(), [](unsigned char each) { return std::tolower(each); });
    if (word == "1" || word == "true" || word == "yes" || word == "on") {
        return true;
    }
    if (!word.empty() && word != "0" && word != "false" && word != "no" && word != "off") {
        refuse("TLS", text, "1, true, yes, on, 0, false, no, off");
    }
    return false;
}

/// Whether a text is allowed as the value of a header.
bool is_sendable(const std::string& text) {
    return text.front() != ' ' && text.back() != ' ' &&
           std::all_of(text.begin(), text.end(), [](char each) { return ' ' <= each && each <= '~'; });
}

/// Whether a text is the name or the number of a host; an IPv6 address is in brackets.
bool is_host(std::string_view text) {
    if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
        return text.substr(1, text.size() - 2).find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos;
    }
    return !text.empty() && text.find_first_of(" \t\r\n/:[]") == std::string_view::npos;
}

bool is_port(std::string_view text) {
    int port = 0;
    const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), port);
    const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
    return is_number && wrong == std::errc() && end == text.data() + text.size() && 1 <= port && port <= 65535;
}

/// Whether a text is host:port, or that after dns:/// or dns://SERVER/.
bool is_address(std::string_view text) {
    constexpr std::string_view scheme = "dns://";
    if (text.substr(0, scheme.size()) == scheme) {
        const auto place = text.find('/', scheme.size());
        if (place == std::string_view::npos) {
            return false;
        }
        text.remove_prefix(place + 1);
    }
    const auto colon = text.rfind(':');
    return colon != std::string_view::npos && is_host(text.substr(0, colon)) && is_port(text.substr(colon + 1));
}

std::vector<std::string> read_addresses(const std::string& url) {
    std::vector<std::string> addresses;
    for (std::size_t begin = 0; begin <= url.size();) {
        const std::size_t end = std::min(url.find(',', begin), url.size());
        std::string address = url.substr(begin, end - begin);
        address.erase(0, address.find_first_not_of(' '));
        address.erase(address.find_last_not_of(' ') + 1);
        if (!is_address(address)) {
            raise(invalid_input("url is " + quoted(url) +
                                "; give host:port, several separated by commas, or dns:///host:port"));
        }
        addresses.push_back(address);
        begin = end + 1;
    }
    return addresses;
}

}  // namespace

CheckedSettings resolve_settings(std::string_view url, const Settings& given) {
    CheckedSettings found;
    if (const std::string named = text_or_variable(std::string(url), "URL"); !named.empty()) {
        found.url = named;
    }
    found.addresses = read_addresses(found.url);
    found.timeout = time(given.timeout, "timeout", "TIMEOUT_S");
    found.stall_timeout = time(given.stall_timeout, "stall_timeout", "STALL_TIMEOUT_S").value_or(found.stall_timeout);
    if (const std::string text = variable("PRIORITY"); given.priority || !text.empty()) {
        found.priority = given.priority ? *given.priority : priority_named(text);
    }
    found.max_in_flight = resolve_max_in_flight(given.max_in_flight);
    if (const std::string text = variable("ON_MODEL_CHANGE"); given.on_model_change || !text.empty()) {
        found.on_model_change = given.on_model_change ? *given.on_model_change : reaction_named(text);
    }
    found.root_certificates = path_or_variable(given.root_certificates, "ROOT_CERTIFICATES");
    found.client_certificate = path_or_variable(given.client_certificate, "CLIENT_CERTIFICATE");
    found.client_key = path_or_variable(given.client_key, "CLIENT_KEY");
    found.server_name = text_or_variable(given.server_name, "SERVER_NAME");
    found.access_key = text_or_variable(given.access_key, "ACCESS_KEY");
    if (found.client_certificate.empty() != found.client_key.empty()) {
        raise(invalid_input("a client certificate and its key must be set together; one of them is missing"));
    }
    if (!found.access_key.empty() && !is_sendable(found.access_key)) {
        // The message must not show the secret.
        raise(invalid_input(
            "the access key cannot be sent; allowed are printable ASCII characters, without spaces or line "
            "ends around them"));
    }
    found.tls = resolve_tls(given.tls) || !found.root_certificates.empty() || !found.client_certificate.empty();
    return found;
}

std::string name_of(Priority priority) { return priority == Priority::query ? "query" : "bulk"; }

Priority priority_named(const std::string& name) {
    if (name != "query" && name != "bulk") {
        refuse("PRIORITY", name, "query, bulk");
    }
    return name == "query" ? Priority::query : Priority::bulk;
}

OnModelChange reaction_named(const std::string& name) {
    if (name != "raise" && name != "reload") {
        refuse("ON_MODEL_CHANGE", name, "raise, reload");
    }
    return name == "raise" ? OnModelChange::raise : OnModelChange::reload;
}

}  // namespace sentriton
