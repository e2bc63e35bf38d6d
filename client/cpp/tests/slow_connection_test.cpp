// A connection that is complete only shortly before the deadline of its request.

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <utility>

#include "checks.hpp"
#include "connection.hpp"
#include "inference/inference.pb.h"
#include "loop.hpp"
#include "protocol.hpp"

namespace sentriton {

/// A server that completes connections when a test says so, and answers nothing.
class SlowServer {
public:
    SlowServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in place{};
        place.sin_family = AF_INET;
        place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof place;
        EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&place), size), 0);
        EXPECT_EQ(listen(listener_, 1), 0);
        EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&place), &size), 0);
        port_ = ntohs(place.sin_port);
    }
    std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

    /// Completes the first connection at this time, and takes no other one. Whether a request arrives within half a
    /// second.
    bool gets_request(Time completed) {
        const int connection = accept(listener_, nullptr, nullptr);
        close(std::exchange(listener_, -1));
        while (Clock::now() < completed) {
        }
        const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
        EXPECT_EQ(send(connection, settings.data(), settings.size(), 0), 9);
        const timeval silence{0, 500'000};
        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
        std::string received;
        char part[4096];
        for (ssize_t size; !has_headers(received) && (size = recv(connection, part, sizeof part, 0)) > 0;) {
            received.append(part, static_cast<std::size_t>(size));
        }
        close(connection);
        return has_headers(received);
    }

private:
    static bool has_headers(const std::string& received) {
        const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(received[at]); };
        for (std::size_t at = 24; at + 9 <= received.size();) {  // after the preface of HTTP/2
            if (byte(at + 3) == 1) {
                return true;
            }
            at += 9U + (byte(at) << 16U) + (byte(at + 1) << 8U) + byte(at + 2);
        }
        return false;
    }

    int listener_;
    int port_ = 0;
};

/// Whether a request is sent on a connection that takes so long.
bool is_sent(Duration timeout, Duration connecting) {
    SlowServer server;
    Loop loop;
    Connection connection(server.address(), resolve_settings(server.address(), {}), loop);
    std::promise<Answer> answered;
    std::promise<Time> begun;
    loop.post([&] {
        connection.infer(asset_request("manifest.json"), timeout,
                         [&](Answer answer) { answered.set_value(std::move(answer)); });
        begun.set_value(Clock::now());
    });
    const bool sent = server.gets_request(begun.get_future().get() + connecting);
    const Answer answer = answered.get_future().get();
    const auto& failure = std::get<Failure>(answer);
    EXPECT_EQ(failure.kind == Kind::deadline_exceeded, !sent) << failure.message;
    loop.close();
    return sent;
}

TEST(SlowConnection, SendsARequestOnlyWithTimeLeft) {
    EXPECT_TRUE(is_sent(30s, 0s));
    for (int attempt = 0; attempt < 10; ++attempt) {
        EXPECT_FALSE(is_sent(100ms, 98'500us));
    }
}

}  // namespace sentriton
