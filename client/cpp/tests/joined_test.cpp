// Calls that share requests.

#include "together.hpp"

namespace sentriton {

EncodeOptions rows_of_at_most(int batch_size) {
    EncodeOptions options;
    options.batch_size = batch_size;
    return options;
}

Settings one_in_flight() {
    Settings settings;
    settings.max_in_flight = 1;
    return settings;
}

TEST(Joined, CallsThatWaitShareARequest) {
    SmallServer server;
    const SentenceEncoder encoder(server.address());
    expect_together(server, encoder, words(64));
    const auto rows = server.with([](auto& state) { return state.rows; });
    EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), 0), 64);
    EXPECT_LE(rows.size(), 5U);  // at most four leave at once
}

TEST(Joined, SmallCallsShareAndLargeOnesDoNot) {
    SmallServer server;
    const SentenceEncoder encoder(server.address(), one_in_flight());
    encoder.info();
    server.silence(true);
    std::vector<std::future<Matrix>> calls;
    for (const std::size_t count : {1, 8, 9, 5, 64, 8}) {
        calls.push_back(encoder.encode_async(words(count)));
    }
    calls.push_back(encoder.encode_async(words(1), rows_of_at_most(63)));  // another batch size
    EncodeOptions shorter;  // remaining times that differ by more than a factor of two
    shorter.timeout = 29s;
    calls.push_back(encoder.encode_async(words(1), shorter));
    eventually([&] { return server.count() >= 3 && Access::waiting(encoder) >= 2; });
    server.silence(false);
    int rows = 0;
    for (auto& call : calls) {
        rows += static_cast<int>(call.get().rows());
    }
    EXPECT_EQ(rows, 1 + 8 + 9 + 5 + 64 + 8 + 1 + 1);
    const auto of_requests = server.with([](auto& state) { return state.rows; });
    EXPECT_EQ(std::accumulate(of_requests.begin(), of_requests.end(), 0), rows);
    EXPECT_LE(of_requests.size(), 6U);
    EXPECT_GE(std::count(of_requests.begin(), of_requests.end(), 1), 2);
}

TEST(Joined, AMemberThatLeavesDoesNotDisturbTheOthers) {
    SmallServer server;
    const SentenceEncoder encoder(server.address(), one_in_flight());
    encoder.info();
    server.silence(true);
    server.silence_from(1);
    auto first = encoder.encode_one_async("w0");
    eventually([&] { return server.count() == 1; });
    std::vector<std::future<std::vector<float>>> others;
    const auto all = words(10);
    for (std::size_t i = 1; i < all.size(); ++i) {
        others.push_back(encoder.encode_one_async(all[i]));
    }
    eventually([&] { return Access::waiting(encoder) == 9; });
    server.silence(false);
    eventually([&] { return server.count() == 2; });  // with nine calls, and without an answer
    EncodeOptions options;
    options.timeout = 150ms;
    expect_error<DeadlineExceeded>([&] { encoder.encode_one("w10", options); }, "timeout of 0.15 s");
    server.silence(false);
    expect_word(first.get(), "w0");
    for (std::size_t i = 1; i < all.size(); ++i) {
        expect_word(others[i - 1].get(), all[i]);
    }
    EXPECT_EQ(server.with([](auto& state) { return state.rows; }), (std::vector<int>{1, 9}));
}

TEST(Joined, ARequestIsCancelledWithItsLastMember) {
    SmallServer server;
    const SentenceEncoder encoder(server.address());
    encoder.info();
    server.silence(true);
    EncodeOptions options;
    options.timeout = 100ms;
    expect_error<DeadlineExceeded>([&] { encoder.encode_one("w1", options); }, "timeout of 0.1 s");
    eventually([&] {
        return server.with([](auto& state) { return state.in_flight; }) == 0 && Access::in_flight(encoder) == 0;
    });
}

TEST(Joined, ARequestIsRetriedAsOne) {
    SmallServer server;
    server.refuse([](int number, const TextList&) { return number < 4 ? full() : grpc::Status::OK; });
    const SentenceEncoder encoder(server.address());
    expect_together(server, encoder, words(64));
    const double taken = retry_tokens - Access::tokens(encoder);  // each answer gives a fifth back
    EXPECT_GT(taken, 2.9);
    EXPECT_LE(taken, 4);
    // The limit opens again by one per round.
    eventually([&] {
        encoder.encode_one("w1");
        return Access::limit(encoder) == 4;
    });
    eventually([&] { return Access::in_flight(encoder) == 0 && Access::waiting(encoder) == 0; });
}

TEST(Joined, AMemberWhoseTimeEndsInThePauseHasTheLastError) {
    SmallServer server;
    server.refuse(always(away()));
    const SentenceEncoder encoder(server.address());
    EncodeOptions options;
    options.timeout = 500ms;
    std::vector<std::future<Matrix>> calls;
    for (int i = 0; i < 3; ++i) {
        calls.push_back(encoder.encode_async(words(2), options));
    }
    for (auto& call : calls) {
        expect_error<ServerUnavailable>([&] { call.get(); },
                                        "Server is stopping \\(0 of 2 sentences were embedded\\)$");
    }
    eventually([&] { return Access::in_flight(encoder) == 0 && Access::waiting(encoder) == 0; });
}

TEST(Joined, ARequestHasTheTimeOfACallThatWasSuspended) {
    SmallServer server;
    const SentenceEncoder encoder(server.address());
    const auto manifest = std::make_shared<const Manifest>(encoder.info());
    const Texts texts = check_texts({"w1"}, false);
    std::promise<std::vector<float>> found;
    Access::in(encoder, [&](Core& core) {
        const auto deadline = std::make_shared<Deadline>(std::nullopt, 1min, Clock::now() - 1h);
        const auto call = make_call(manifest, texts, {}, {}, deadline);
        call->done = [&](Call& ended, const std::optional<Failure>&) { found.set_value(ended.result.values()); };
        run(core, call);
        return true;
    });
    expect_word(found.get_future().get(), "w1");
    const auto left = server.with([](auto& state) { return state.timeouts.at(0); });
    EXPECT_GT(left, 0s);
    EXPECT_LE(left, 1min);
}

TEST(Joined, LimitsOfARequestHold) {
    SmallServer server;
    Fields manifest = small_manifest();
    manifest["max_seq_length"] = "8192";
    server.with([&](auto& state) { state.assets["manifest.json"] = to_json(manifest); });
    const std::vector<std::string> three = {std::string(3000, 'a'), std::string(3000, 'b'), "c"};
    expect_words(SentenceEncoder(server.address()).encode(three), three);
    EXPECT_EQ(server.with([](auto& state) { return state.rows; }).size(), 2U);
}

TEST(Joined, ARequestHasAtMost16KiBOfText) {
    SmallServer server;
    const SentenceEncoder encoder(server.address(), one_in_flight());
    encoder.info();
    server.silence(true);
    const std::string half = repeated("가", 2730) + "ab";  // 8 KiB of UTF-8
    std::vector<std::future<Matrix>> calls;
    const auto begin = [&](const Sentences& sentences, int received, std::size_t waiting, EncodeOptions options = {}) {
        calls.push_back(encoder.encode_async(sentences, options));
        eventually([&] { return server.count() == received && Access::waiting(encoder) == waiting; });
    };
    // The first call leaves, and four wait. The last two have a byte more than 16 KiB, and do not wait.
    begin({"a"}, 1, 0);
    begin({half}, 1, 1);
    begin({half}, 1, 2);
    begin({half, half}, 1, 3);
    begin({"a"}, 1, 4);
    begin({half, half, "a"}, 2, 4);
    EncodeOptions prompted;
    prompted.prompt = "a";
    begin({half + half}, 3, 4, prompted);
    server.silence(false);
    for (auto& call : calls) {
        call.get();
    }
    EXPECT_EQ(server.with([](auto& state) { return state.rows; }), (std::vector<int>{1, 3, 1, 2, 2, 1}));
}

TEST(Joined, PlacesDependOnTheAddresses) {
    const std::vector<std::pair<std::string, int>> all = {
        {"a:1", 4}, {"a:1,b:2", 8}, {"a:1,b:2,c:3,d:4,e:5", 16}, {"dns:///a:1", 16}};
    for (const auto& [url, places] : all) {
        EXPECT_EQ(Access::limit(SentenceEncoder(url)), places) << url;
    }
    SmallServer server;
    const SentenceEncoder encoder(server.address());
    encoder.info();
    server.silence(true);
    std::vector<std::future<Matrix>> calls;
    for (int i = 0; i < 10; ++i) {  // a call with a full batch never shares
        calls.push_back(encoder.encode_async(words(1), rows_of_at_most(1)));
    }
    eventually([&] { return server.count() == 10; });
    server.silence(false);
    for (auto& call : calls) {
        expect_words(call.get(), words(1));
    }
}

}  // namespace sentriton
