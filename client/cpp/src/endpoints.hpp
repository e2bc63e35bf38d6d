#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "clock.hpp"
#include "connection.hpp"

namespace sentriton {

constexpr Duration least_patience = 2s;

/// One server: its connection and its recent answers.
struct Endpoint {
    std::unique_ptr<Connection> connection;
    Time resting_until{};
    int silences = 0;  // in a row, since its last answer
    Time last_answer{};
    std::vector<Time> in_flight;  // when each request was sent, oldest first

    /// How long requests have been in flight without an answer to any; 0 if none is.
    Duration silence(Time now) const;
    /// Lets the server rest, longer each time, unless it already does.
    void fell_silent(Time now);
};

/// The servers of one encoder, for all of its calls.
class Endpoints {
public:
    explicit Endpoints(std::string url) : url_(std::move(url)) {}

    /// Adds a server; without a connection in tests.
    void add(std::unique_ptr<Connection> connection);
    const std::vector<std::unique_ptr<Endpoint>>& all() const { return all_; }
    /// The addresses.
    const std::string& url() const { return url_; }

    /// How long an answer may take before another server gets the request as well.
    Duration patience() const;
    /// Notes that a request sent at `sent` leaves for its server.
    static void begin(Endpoint& to, Time sent);
    /// Notes that it came back, with an answer or an error.
    static void end(Endpoint& from, Time sent);
    /// Notes that a server answered a request.
    void answered(Endpoint& from, Duration took, Time now);
    /// Notes that a server was unavailable: the others are tried first for a moment.
    static void rest(Endpoint& one, Time now);
    /// Notes that a request sent at `sent` came to nothing. If its server answered nothing for the patience, the server
    /// is silent and rests.
    void late(Endpoint& one, Time sent, Time now) const;

    /// The least busy server that answers, in turn among equals; if none answers, the one that has rested longest. A
    /// silent server gets one request at a time until it answers.
    Endpoint& choose(Time now);
    /// The least busy server that answers, besides the first; null if none does. One that has nearly used up the
    /// patience is no better than the first: slow servers do not get requests twice.
    Endpoint* another(const Endpoint& first, Time now);

private:
    Endpoint* least_busy(const std::function<bool(const Endpoint&)>& is_meant);
    bool answers(const Endpoint& one, Time now) const;

    std::string url_;
    std::vector<std::unique_ptr<Endpoint>> all_;
    std::size_t turn_ = 0;
    Duration slowest_{};
};

}  // namespace sentriton
