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
    std::vector<Time> in_flight;  // the time of sending of each request, oldest first

    /// The time in which the requests in flight got no answer, or 0 without requests.
    Duration silence(Time now) const;
    /// Starts a pause of the server, longer each time, unless it has one.
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

    /// The time for an answer, before another server gets the request as well.
    Duration patience() const;
    /// Records a request that leaves for its server at `sent`.
    static void begin(Endpoint& to, Time sent);
    /// Records the end of the request, with an answer or an error.
    static void end(Endpoint& from, Time sent);
    /// Records that a server answered a request.
    void answered(Endpoint& from, Duration took, Time now);
    /// Pauses an unavailable server, so that others are tried first.
    static void rest(Endpoint& one, Time now);
    /// Records that a request sent at `sent` failed. A server without an answer for the patience is silent and gets a
    /// pause.
    void late(Endpoint& one, Time sent, Time now) const;

    /// The least busy server that answers, in turn among equals; if none answers, the one with the longest pause. A
    /// silent server gets one request at a time until it answers.
    Endpoint& choose(Time now);
    /// The least busy server that answers, other than the first, or null. A server near the end of the patience does
    /// not count, so slow servers do not get requests twice.
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
