// Calls that send requests of their own, and the rules for all calls.

#include <algorithm>
#include <atomic>
#include <limits>
#include <thread>

#include "access.hpp"
#include "checks.hpp"
#include "small_server.hpp"

namespace sentriton {

grpc::Status unwell() { return {grpc::StatusCode::INTERNAL, "Stub process 'encoder_0_0' is not healthy."}; }
grpc::Status changed() {
    return {grpc::StatusCode::INVALID_ARGUMENT, "fingerprint mismatch: the request is for model 'a'"};
}

EncodeOptions rows_of(int batch_size) {
    EncodeOptions options;
    options.batch_size = batch_size;
    return options;
}

EncodeOptions within(Seconds timeout) {
    EncodeOptions options;
    options.timeout = timeout;
    return options;
}

TEST(Calls, GoOnAsLongAsAnswersCome) {
    SmallServer server;
    server.with([](auto& state) { state.delay = 200ms; });
    Settings settings;
    settings.stall_timeout = 1500ms;
    settings.max_in_flight = 4;
    const SentenceEncoder encoder(server.address(), settings);
    const auto many = words(300);
    expect_time(1600ms, soon, [&] { expect_words(encoder.encode(many, rows_of(8)), many); });
    for (const auto left : server.with([](auto& state) { return state.timeouts; })) {
        EXPECT_GT(left, 0s);
        EXPECT_LE(left, 1500ms);
    }
}

TEST(Calls, ToThisMachineAskNoProxy) {
    const Variable nowhere("http_proxy", "http://127.0.0.1:9");
    SmallServer server;
    for (const std::string prefix : {"", "dns:///"}) {
        const SentenceEncoder encoder(prefix + server.address());
        expect_words(encoder.encode(words(2)), words(2));
    }
}

TEST(Calls, WithoutAnAnswerEndAndSayHowFarTheyGot) {
    SmallServer server;
    server.with([](auto& state) { state.delay = 20ms; });
    server.silence_from(20);
    Settings settings;
    settings.stall_timeout = 1s;
    const SentenceEncoder encoder(server.address(), settings);
    expect_time(1s, soon, [&] {
        expect_error<DeadlineExceeded>(
            [&] { encoder.encode(words(4000), rows_of(4)); },
            "answered no request for 1 s; check .* \\([1-9][0-9,]* of 4,000 sentences were embedded\\)$");
    });
    server.refuse(nullptr);
    server.silence(false);
    expect_words(encoder.encode(words(400)), words(400));
}

TEST(Calls, EndWithTheirOwnTime) {
    SmallServer server;
    server.with([](auto& state) { state.delay = 20ms; });
    const SentenceEncoder encoder(server.address());
    EncodeOptions options = rows_of(2);
    options.timeout = 1s;
    expect_error<DeadlineExceeded>([&] { encoder.encode(words(4000), options); },
                                   "timeout of 1 s; set a longer timeout, or none \\([1-9][0-9,]* of 4,000 sentences");
    expect_words(encoder.encode(words(400), within(Seconds(std::numeric_limits<double>::max()))), words(400));
}

TEST(Calls, WithoutTimeSendNothing) {
    SmallServer server;
    std::atomic<int> assets = 0;
    server.with([&](auto& state) { state.change_asset = [&](Response&) { ++assets; }; });
    const SentenceEncoder encoder(server.address());
    encoder.info();
    Settings hasty;
    hasty.timeout = 1ms;
    for (int i = 0; i < 20; ++i) {  // the network is sometimes slower than this
        expect_error<DeadlineExceeded>([&] { encoder.health(1ms); }, "timeout of 0.001 s; set a longer timeout");
        expect_error<DeadlineExceeded>([&] { SentenceEncoder(server.address(), hasty).info(); }, "timeout of 0.001 s");
        for (const std::size_t count : {1, 50}) {
            expect_error<DeadlineExceeded>([&] { encoder.encode(words(count), within(1ms)); }, "timeout of 0.001 s");
        }
    }
    EXPECT_EQ(assets, 1);
    EXPECT_EQ(server.count(), 0);
}

TEST(Calls, AreRepeatedAtAServerThatRefuses) {
    for (const auto& refusal : {full(), away(), unwell()}) {
        SmallServer server;
        server.refuse([&](int number, const TextList&) { return number < 4 ? refusal : grpc::Status::OK; });
        expect_words(SentenceEncoder(server.address()).encode(words(50), rows_of(10)), words(50));
        EXPECT_EQ(server.count(), 4 + 5);
    }
}

TEST(Calls, AreNotRepeatedAtAServerThatRefusesForGood) {
    SmallServer server;
    server.refuse(always({grpc::StatusCode::INVALID_ARGUMENT, "no"}));
    const SentenceEncoder encoder(server.address());
    expect_error<InvalidInput>([&] { encoder.encode(words(50)); }, "^no \\(0 of 50 sentences were embedded\\)$");
    EXPECT_EQ(server.count(), 1);
}

TEST(Calls, NameTheSentenceOfTheServersError) {
    SmallServer server;
    server.refuse([](int, const TextList& texts) -> grpc::Status {
        const auto found = std::find(texts.begin(), texts.end(), "w10");
        if (found == texts.end()) {
            return grpc::Status::OK;
        }
        const std::string row = std::to_string(found - texts.begin());
        return {grpc::StatusCode::INVALID_ARGUMENT, "text in row " + row + " has 9 bytes; allowed are 8"};
    });
    for (const int size : {1, 2, 64}) {  // 64: a joined request
        EncodeOptions options;
        options.batch_size = size;
        expect_error<InvalidInput>(
            [&] { SentenceEncoder(server.address()).encode(TextList{"w1", "w100", "w10", "w1000"}, options); },
            "^sentences\\[2\\] has 9 bytes; allowed are 8 \\(");
    }
}

TEST(Calls, HaveOneRetryBudget) {
    SmallServer server;
    server.refuse(always(full()));
    Settings settings;
    settings.max_in_flight = 1;
    const SentenceEncoder encoder(server.address(), settings);
    encoder.info();
    std::vector<std::future<Matrix>> calls;
    for (int i = 0; i < 150; ++i) {
        calls.push_back(encoder.encode_async(words(9)));
    }
    for (auto& call : calls) {
        expect_error<Overloaded>([&] { call.get(); }, "Exceeds maximum queue size");
    }
    EXPECT_EQ(server.count(), 150 + 100);
}

TEST(Calls, LoseNothingWhenAServerIsAwayOrRestarts) {
    SmallServer server;
    const SentenceEncoder encoder(server.address());
    const auto all = words(64);
    const auto end = Clock::now() + 2s;
    std::vector<std::future<void>> callers;
    for (const auto& word : all) {
        callers.push_back(at_once([&encoder, &word, end] {
            while (Clock::now() < end) {
                expect_word(encoder.encode_one(word), word);
            }
        }));
    }
    std::this_thread::sleep_for(200ms);
    server.refuse(always(away()));
    std::this_thread::sleep_for(200ms);
    server.refuse(nullptr);
    std::this_thread::sleep_for(200ms);
    server.stop();
    std::this_thread::sleep_for(300ms);
    server.start();
    for (auto& caller : callers) {
        caller.get();
    }
}

TEST(Calls, FailOrBeginAgainWithAnotherModel) {
    SmallServer server;
    const auto again = [&](int times) {
        const int first = server.count();
        server.refuse([first, times](int number, const TextList&) {
            return number < first + times ? changed() : grpc::Status::OK;
        });
    };
    Settings settings;
    settings.on_model_change = OnModelChange::reload;
    for (const std::size_t count : {3, 50}) {
        const auto sentences = words(count);
        again(1);
        expect_error<ContractMismatch>([&] { SentenceEncoder(server.address()).encode(sentences); },
                                       "fingerprint mismatch");
        const SentenceEncoder reloading(server.address(), settings);
        again(3);
        expect_words(reloading.encode(sentences), sentences);
        const int before = server.count();
        again(99);
        expect_error<ContractMismatch>([&] { reloading.encode(sentences); }, "fingerprint mismatch");
        EXPECT_EQ(server.count() - before, 1 + 3);
    }
}

TEST(Calls, EndWhenTheEncoderCloses) {
    for (const bool manifest_is_read : {false, true}) {
        SmallServer server;
        SentenceEncoder encoder(server.address());
        if (manifest_is_read) {
            encoder.info();
        }
        server.silence(true);
        auto many = encoder.encode_async(words(400));
        auto one = encoder.encode_one_async("w1");
        auto health = at_once([&] { encoder.health(); });
        std::this_thread::sleep_for(50ms);
        expect_time(0s, soon, [&] {
            encoder.close();
            expect_error<Closed>([&] { many.get(); }, "^this encoder is closed; make a new one$");
            expect_error<Closed>([&] { one.get(); }, "^this encoder is closed; make a new one$");
            expect_error<Closed>([&] { health.get(); }, "^this encoder is closed; make a new one$");
        });
        encoder.close();
        expect_error<Closed>([&] { encoder.encode({"w1"}); }, "^this encoder is closed");
        expect_error<Closed>([&] { encoder.info(); }, "^this encoder is closed");
        expect_error<Closed>([&] { encoder.health(); }, "^this encoder is closed");
        expect_error<Closed>([&] { encoder.encode_one_async("w1").get(); }, "^this encoder is closed");
    }
}

TEST(Calls, OfAnEncoderThatClosesAtOnceSendNothing) {
    SmallServer server;
    std::atomic<int> assets = 0;
    server.with([&](auto& state) { state.change_asset = [&](Response&) { ++assets; }; });
    SentenceEncoder encoder(server.address());
    encoder.info();
    std::promise<void> busy;
    Loop& loop = Access::core(encoder).loop;
    loop.post([free = busy.get_future().share()] { free.wait(); });
    auto one = encoder.encode_one_async("w1");
    auto many = encoder.encode_async(words(50));
    auto health = at_once([&] { encoder.health(); });
    std::this_thread::sleep_for(20ms);
    auto closing = at_once([&] { encoder.close(); });
    eventually([&] { return !loop.post([] {}); });
    busy.set_value();
    expect_error<Closed>([&] { one.get(); }, "^this encoder is closed");
    expect_error<Closed>([&] { many.get(); }, "^this encoder is closed");
    expect_error<Closed>([&] { health.get(); }, "^this encoder is closed");
    closing.get();
    EXPECT_EQ(assets, 1);
    EXPECT_EQ(server.count(), 0);
}

TEST(Calls, LeaveAQuestionThatEndsBeforeItIsCancelled) {
    SmallServer server;
    std::atomic<int> answered = 0;
    server.with([&](auto& state) {
        state.asset_delay = grace / 5;
        state.change_asset = [&](Response&) { ++answered; };
    });
    {
        const SentenceEncoder encoder(server.address());
        expect_error<DeadlineExceeded>([&] { encoder.encode({"w1"}, within(Seconds(1e-4))); }, "took longer");
    }
    EXPECT_EQ(answered, 1);
    EXPECT_EQ(server.with([](const auto& state) { return state.cancelled; }), 0);
}

TEST(Calls, OutliveTheirEncodersMove) {
    SmallServer server;
    SentenceEncoder first(server.address());
    auto call = first.encode_async(words(3));
    SentenceEncoder second = std::move(first);
    expect_words(call.get(), words(3));
    expect_word(second.encode_one("w7"), "w7");
    expect_error<Closed>([&] { first.encode_one("w1"); }, "was moved from");  // NOLINT(bugprone-use-after-move)
    first = std::move(second);
    expect_word(first.encode_one("w7"), "w7");
}

TEST(Calls, SayThatNobodyIsThere) {
    Settings settings;
    settings.timeout = 2s;
    const SentenceEncoder encoder("127.0.0.1:1", settings);
    const std::string says =
        "^no answer from 127.0.0.1:1: .*refused; is it running\\? `sentriton serve` on that machine starts it$";
    expect_error<ServerUnavailable>([&] { encoder.encode(words(3)); }, says);
    expect_error<ServerUnavailable>([&] { encoder.health(1s); }, says);
}

TEST(Calls, ShareTheReadingOfTheManifest) {
    SmallServer server;
    server.silence(true);
    Settings settings;
    settings.stall_timeout = 300ms;
    expect_error<DeadlineExceeded>([&] { SentenceEncoder(server.address(), settings).info(); },
                                   "answered no request for 0.3 s");
    const SentenceEncoder encoder(server.address());
    auto waits = encoder.encode_async(words(3));
    expect_error<DeadlineExceeded>([&] { encoder.encode(words(3), within(200ms)); }, "timeout of 0.2 s");
    expect_error<DeadlineExceeded>([&] { encoder.encode_query(words(3), within(200ms)); }, "timeout of 0.2 s");
    expect_error<DeadlineExceeded>([&] { encoder.encode_document(words(3), within(200ms)); }, "timeout of 0.2 s");
    server.silence(false);
    expect_words(waits.get(), words(3));
}

TEST(Calls, PutThePromptBeforeEachSentence) {
    SmallServer server;
    Fields manifest = small_manifest();
    manifest["prompts"] = R"({"query": "q: ", "passage": "longer: ", "corpus": "no: "})";
    server.with([&](auto& state) { state.assets["manifest.json"] = to_json(manifest); });
    const SentenceEncoder encoder(server.address());
    expect_word(encoder.encode_one("text"), "text");
    expect_word(encoder.encode_one_query("text"), "q: text");
    expect_word(encoder.encode_one_document("text"), "longer: text");
    expect_word(encoder.encode_one_query_async("text").get(), "q: text");
    expect_word(encoder.encode_one_document_async("text").get(), "longer: text");
    expect_words(encoder.encode_query_async({"text"}).get(), {"q: text"});
    expect_words(encoder.encode_document_async({"text"}).get(), {"longer: text"});
    EncodeOptions options;
    options.prompt_name = "corpus";
    expect_word(encoder.encode_one_query("text", options), "no: text");
    options.prompt = "given: ";
    expect_word(encoder.encode_one("text", options), "given: text");
    options.prompt.reset();
    options.prompt_name = "nope";
    expect_error<InvalidInput>([&] { encoder.encode_one("text", options); },
                               "^prompt_name is \"nope\"; the model's prompts are \"corpus\", \"passage\", \"query\"$");
    manifest["include_prompt"] = "false";
    server.with([&](auto& state) { state.assets["manifest.json"] = to_json(manifest); });
    expect_error<InvalidInput>([&] { SentenceEncoder(server.address()).encode_one_query("text"); },
                               "\"q: \"; this model leaves prompts out of pooling");
}

TEST(Calls, TakeSentencesOfAnyOrderedContainer) {
    SmallServer server;
    const SentenceEncoder encoder(server.address());
    const std::vector<std::string_view> views = {"w1", "w2"};
    const char* array[] = {"w1", "w2"};
    expect_words(encoder.encode(views), {"w1", "w2"});
    expect_words(encoder.encode(array), {"w1", "w2"});
    expect_words(encoder.encode({"w1", std::string("w2")}), {"w1", "w2"});
    expect_words(encoder.encode(std::vector<std::string>()), {});
    auto later = encoder.encode_async(std::vector<std::string>{"w1", std::string(100, 'x')});  // which is gone at once
    expect_words(later.get(), {"w1", std::string(100, 'x')});
}

}  // namespace sentriton
