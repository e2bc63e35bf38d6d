// Several servers.

#include "access.hpp"
#include "checks.hpp"
#include "small_server.hpp"

namespace sentriton {

struct Two {
    SmallServer one;
    SmallServer other;
    std::string url() const { return one.address() + "," + other.address(); }
    void delay(Duration time) {
        one.with([&](auto& state) { state.delay = time; });
        other.with([&](auto& state) { state.delay = time; });
    }
};

EncodeOptions rows(int batch_size) {
    EncodeOptions options;
    options.batch_size = batch_size;
    return options;
}

TEST(Servers, ShareTheWork) {
    Two two;
    two.delay(20ms);
    expect_words(SentenceEncoder(two.url()).encode(words(60), rows(1)), words(60));
    EXPECT_EQ(two.one.count() + two.other.count(), 60);
    EXPECT_GE(std::min(two.one.count(), two.other.count()), 15);
}

TEST(Servers, StandInForOneThatIsAway) {
    Two two;
    two.one.refuse(always(away()));
    expect_words(SentenceEncoder("127.0.0.1:1," + two.url()).encode(words(60), rows(1)), words(60));
    EXPECT_LT(two.one.count(), 10);
}

TEST(Servers, LeaveASilentOneAloneUntilItAnswers) {
    Two two;
    two.delay(10ms);
    SmallServer& silent = two.one;
    silent.silence_from(20);
    const SentenceEncoder encoder(two.url());
    expect_time(0s, soon, [&] { expect_words(encoder.encode(words(4000), rows(8)), words(4000)); });
    eventually([&] { return silent.with([](auto& state) { return state.in_flight; }) == 0; });
    const int asked = silent.count();
    silent.with([](auto& state) {
        state.refuse = nullptr;
        state.at_once = 0;
    });
    eventually([&] {
        expect_words(encoder.encode(words(400), rows(8)), words(400));
        return silent.count() > asked;
    });
    EXPECT_EQ(silent.with([](auto& state) { return state.at_once; }), 1);
    EXPECT_LE(silent.count() - asked, 6);
    silent.silence(false);
    const int before = silent.count();
    eventually([&] {
        encoder.encode(words(400), rows(8));
        return silent.count() >= before + 20;
    });
}

TEST(Servers, StandInForOneThatIsSilentFromTheBeginning) {
    Two two;
    two.one.silence(true);
    const SentenceEncoder encoder(two.url());
    expect_time(0s, soon, [&] {
        expect_words(encoder.encode(words(400)), words(400));
        expect_words(encoder.encode(words(1)), words(1));
    });
}

TEST(Servers, DoNotGetTwiceTheLoadIfTheyAreSlow) {
    Two two;
    two.delay(2400ms);
    expect_words(SentenceEncoder(two.url()).encode(words(32), rows(8)), words(32));
    const int received = two.one.count() + two.other.count();
    EXPECT_GE(received, 4);
    EXPECT_LT(received, 2 * 4);
}

TEST(Servers, NoneOfTwoAnswers) {
    Two two;
    Settings settings;
    settings.stall_timeout = 3s;
    const SentenceEncoder encoder(two.url(), settings);
    encoder.info();
    two.one.silence(true);
    two.other.silence(true);
    expect_time(2s, soon, [&] {
        expect_error<DeadlineExceeded>([&] { encoder.encode(words(400)); },
                                       "answered no request for 3 s.*\\(0 of 400 sentences were embedded\\)$");
    });
}

TEST(Servers, AreAskedOnceIfTheySayAtOnceThatTheyAreLate) {
    Two two;
    int asked = 0;  // one request at a time
    for (SmallServer* server : {&two.one, &two.other}) {
        server->with([&](auto& state) {
            state.refuse_asset = [&]() -> grpc::Status {
                ++asked;
                return {grpc::StatusCode::DEADLINE_EXCEEDED, "a proxy gave up"};
            };
        });
    }
    for (const auto& [url, times] : {std::pair(two.one.address(), 1), std::pair(two.url(), 2)}) {
        asked = 0;
        expect_error<DeadlineExceeded>([&, url = url] { SentenceEncoder(url).info(); },
                                       "did not answer in time: a proxy gave up");
        EXPECT_EQ(asked, times);
    }
}

}  // namespace sentriton
