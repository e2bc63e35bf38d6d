// Errors of requests that calls share.

#include <cstring>
#include <limits>
#include <set>

#include "together.hpp"

namespace sentriton {

bool contains(const TextList& texts, const std::string& text) {
    return std::find(texts.begin(), texts.end(), text) != texts.end();
}

TEST(JoinedErrors, TheMistakeOfOneMemberIsItsOwn) {
    SmallServer server;
    server.refuse([](int, const TextList& texts) -> grpc::Status {
        if (contains(texts, "bad")) {
            return {grpc::StatusCode::INVALID_ARGUMENT, "this text is bad"};
        }
        if (contains(texts, "worse")) {
            return {grpc::StatusCode::INTERNAL, "this text is worse"};
        }
        return grpc::Status::OK;
    });
    auto sentences = words(20);
    sentences[13] = "bad";
    sentences[17] = "worse";
    const SentenceEncoder encoder(server.address());
    together(server, encoder, sentences, [&](std::size_t place, auto& call) {
        if (place == 13) {
            expect_error<InvalidInput>([&] { call.get(); }, "^this text is bad$");
        } else if (place == 17) {
            expect_error<ServerError>([&] { call.get(); }, "^this text is worse$");
        } else {
            expect_word(call.get(), sentences[place]);
        }
    });
    EXPECT_EQ(Access::tokens(encoder), retry_tokens);
}

TEST(JoinedErrors, MembersThatGoAloneKeepTheLimitAndGoBeforeTheOthers) {
    SmallServer server;
    Settings settings;
    settings.max_in_flight = 1;
    const SentenceEncoder encoder(server.address(), settings);
    encoder.info();
    std::vector<std::string> requests;  // which the server's lock guards
    server.refuse([&](int number, const TextList& texts) -> grpc::Status {
        server.with([&](auto&) {
            std::string all;
            for (const auto& text : texts) {
                all += (all.empty() ? "" : " ") + text;
            }
            requests.push_back(all);
        });
        return number == 1 ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no") : grpc::Status::OK;
    });
    server.with([](auto& state) {
        state.silent = true;
        state.delay = 50ms;
    });
    std::vector<std::future<std::vector<float>>> calls;
    const auto all = words(5);
    for (std::size_t i = 0; i < all.size(); ++i) {
        EncodeOptions options;
        options.batch_size = i == 4 ? 63 : 64;  // the last one joins none of them
        calls.push_back(encoder.encode_one_async(all[i], options));
        eventually([&] { return server.count() == 1 && Access::waiting(encoder) == i; });
    }
    server.silence(false);
    for (std::size_t i = 0; i < all.size(); ++i) {
        expect_word(calls[i].get(), all[i]);
    }
    const auto at_once = server.with([](auto& state) { return state.at_once; });
    EXPECT_EQ(at_once, 1);
    EXPECT_EQ(requests, (std::vector<std::string>{"w0", "w1 w2 w3", "w1", "w2", "w3", "w4"}));
}

TEST(JoinedErrors, NumbersThatAreNotFiniteConcernTheirOwnMember) {
    SmallServer server;
    server.with([](auto& state) {
        state.change = [](Response& answer) {
            std::string& raw = *answer.mutable_raw_output_contents(0);
            for (std::size_t row = 0; row < raw.size(); row += 4 * small_dimension) {
                float value = 0;
                std::memcpy(&value, raw.data() + row, sizeof value);
                if (value == 13) {
                    value = std::numeric_limits<float>::quiet_NaN();
                    std::memcpy(raw.data() + row + 8, &value, sizeof value);
                }
            }
        };
    });
    const auto sentences = words(20);
    together(server, SentenceEncoder(server.address()), sentences, [&](std::size_t place, auto& call) {
        if (place == 13) {
            expect_error<ServerError>([&] { call.get(); },
                                      "^wrong answer from 127.0.0.1:[0-9]+: .* in row 0; expected numbers$");
        } else {
            expect_word(call.get(), sentences[place]);
        }
    });
}

TEST(JoinedErrors, EachMemberHasAnErrorOfItsOwn) {
    SmallServer server;
    server.with([](auto& state) {
        state.change = [](Response& answer) { answer.mutable_outputs(0)->mutable_shape()->Set(0, 77); };
    });
    std::set<const void*> errors;
    std::vector<std::exception_ptr> kept;
    together(server, SentenceEncoder(server.address()), words(20), [&](std::size_t, auto& call) {
        try {
            call.get();
        } catch (const ServerError& error) {
            EXPECT_TRUE(matches(error.what(), "shape \\[77, 4\\]")) << error.what();
            errors.insert(&error);
            kept.push_back(std::current_exception());
        }
    });
    EXPECT_EQ(errors.size(), 20U);
}

}  // namespace sentriton
