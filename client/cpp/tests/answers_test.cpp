// Answers that are wrong.

#include <cstring>
#include <limits>

#include "access.hpp"
#include "call.hpp"
#include "checks.hpp"
#include "conformance.hpp"
#include "manifest.hpp"
#include "protocol.hpp"
#include "small_server.hpp"

namespace sentriton {

using Change = std::function<void(Response&)>;

/// Changes an answer to other numbers, of another shape.
Change shaped(const std::vector<std::int64_t>& shape) {
    return [shape](Response& answer) {
        std::size_t size = 4;
        for (const auto each : shape) {
            size *= static_cast<std::size_t>(each);
        }
        *answer.mutable_outputs(0)->mutable_shape() = {shape.begin(), shape.end()};
        answer.set_raw_output_contents(0, std::string(size, '\1'));
    };
}

Change numbered(float value) {
    return [value](Response& answer) {
        std::memcpy(&answer.mutable_raw_output_contents(0)->at(20), &value, sizeof value);
    };
}

struct Wrong {
    const char* name;
    Change change;
    const char* says;
};

const std::vector<Wrong>& wrong_answers() {
    static const std::vector<Wrong> all = {
        {"one row for three", shaped({1, 4}), "shape \\[1, 4\\]; expected \\[3, 4\\]"},
        {"more rows", shaped({4, 4}), "shape \\[4, 4\\]; expected \\[3, 4\\]"},
        {"no rows", shaped({0, 4}), "shape \\[0, 4\\]; expected"},
        {"one column", shaped({3, 1}), "shape \\[3, 1\\]; expected"},
        {"more columns", shaped({3, 5}), "shape \\[3, 5\\]; expected"},
        {"no columns", shaped({3}), "shape \\[3\\]; expected"},
        {"a third axis", shaped({3, 4, 1}), "shape \\[3, 4, 1\\]; expected"},
        {"NaN", numbered(std::numeric_limits<float>::quiet_NaN()), "NaN or infinity in row 1; expected numbers"},
        {"infinity", numbered(-std::numeric_limits<float>::infinity()), "NaN or infinity in row 1"},
        {"integers", [](auto& a) { a.mutable_outputs(0)->set_datatype("INT32"); }, "as \"INT32\"; expected FP32"},
        {"cut off", [](auto& a) { a.mutable_raw_output_contents(0)->resize(44); }, "44 bytes .*; expected 48"},
        {"another output", [](auto& a) { a.mutable_outputs(0)->set_name("token_embeddings"); },
         "outputs \"token_embeddings\" with"},
        {"no content", [](auto& a) { a.clear_raw_output_contents(); }, "with 0 contents"},
        {"another model's", [](auto& a) { a.set_model_name("rerank"); }, "model \"rerank\"; expected embed_text"},
        {"nothing", [](auto& a) { a.Clear(); }, "model \"\"; expected embed_text"},
    };
    return all;
}

TEST(Answers, WrongEmbeddingsAreRefusedAndNotRetried) {
    const auto three = words(3);
    SmallServer server;
    server.with([](auto& state) {
        state.assets["golden.json"] = R"({"sentences": ["w0", "w1", "w2"],
            "sentence_embedding": [[1, 2, 3, 4], [1, 1, 1, 1], [2, 2, 2, 2]]})";
    });
    const SentenceEncoder encoder(server.address());
    for (const auto& wrong : wrong_answers()) {
        const testing::Message name = testing::Message() << wrong.name;
        SCOPED_TRACE(name);
        const int before = server.count();
        EncodeOptions alone;  // and in a request that calls share
        alone.batch_size = 3;
        for (const auto& options : {EncodeOptions(), alone}) {
            server.with([](auto& state) { state.change = nullptr; });
            expect_words(encoder.encode(three, options), three);
            server.with([&](auto& state) { state.change = wrong.change; });
            const auto encode = [&] { encoder.encode(three, options); };
            expect_error<ServerError>(encode, wrong.says);
            expect_error<ServerError>(
                encode, "^wrong answer from " + server.address() + ": .* \\(0 of 3 sentences were embedded\\)$");
        }
        expect_error<ServerError>([&] { encoder.health(); }, wrong.says);
        EXPECT_EQ(server.count() - before, 2 * 3 + 1);
    }
}

TEST(Answers, AWrongManifestIsTheServersError) {
    Fields without_rows = small_manifest();
    without_rows["max_batch_size"] = "null";
    for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
             {to_json(without_rows), "max_batch_size is null; expected "},
             {"", ""},
             {"{", ""},
             {"[]", ""},
             {"null", ""},
             {"3", ""},
             {"{}", "lacks name, fingerprint"},
             {std::string(100'000, '['), ""},
         }) {
        SmallServer server;
        server.with([text = text](auto& state) { state.assets["manifest.json"] = text; });
        const SentenceEncoder encoder(server.address());
        const std::string message =
            "^" + server.address() + " sent a manifest.json that this client cannot read: .*" + says;
        expect_error<ServerError>([&] { encoder.encode({"w1"}); }, message);
        expect_error<ServerError>([&] { encoder.health(); }, message);
    }
}

TEST(Answers, AWrongAssetIsRefused) {
    const std::string element("\2\0\0\0{}", 6);
    const auto content = [](const std::string& raw) {
        return [raw](Response& answer) { answer.set_raw_output_contents(0, raw); };
    };
    const auto two = [&](Response& answer) {
        *answer.mutable_outputs(0)->mutable_shape()->Mutable(0) = 2;
        answer.set_raw_output_contents(0, element + element);
    };
    const std::vector<std::pair<Change, std::string>> wrong = {
        {content(element + "}"), "shape \\[1\\] in 7 bytes that begin with 0x02000000; expected shape"},
        {content(element.substr(0, 5)), "in 5 bytes .*; expected shape"},
        {content(element.substr(0, 3)), "in 3 bytes that begin with 0x020000; expected shape"},
        {content(""), "in 0 bytes"},
        {two, "shape \\[2\\] in 12 bytes"},
        {[](auto& a) { a.mutable_outputs(0)->set_name("text"); }, "outputs \"text\" with 1 contents; expected content"},
        {[](auto& a) { a.mutable_outputs(0)->set_datatype("FP32"); }, "as \"FP32\"; expected BYTES"},
        {[](auto& a) { a.Clear(); }, "model \"\"; expected assets"},
    };
    SmallServer server;
    for (const auto& [change, says] : wrong) {
        server.with([change = change](auto& state) { state.change_asset = change; });
        const SentenceEncoder encoder(server.address());
        expect_error<ServerError>([&] { encoder.encode(words(3)); }, "^wrong answer from .*" + says);
    }
}

TEST(Answers, WrongGoldenVectorsAreTheServersError) {
    SmallServer server;
    const SentenceEncoder encoder(server.address());
    const auto golden = [&](const std::string& text) {
        server.with([&](auto& state) { state.assets["golden.json"] = text; });
    };
    for (const std::string text : {
             R"({})",
             R"([])",
             R"(null)",
             R"(no JSON)",
             R"({"sentences": [], "sentence_embedding": []})",
             R"({"sentences": [1], "sentence_embedding": [[1, 1, 1, 1]]})",
             R"({"sentences": [null], "sentence_embedding": [[1, 1, 1, 1]]})",
             R"({"sentences": ["w1"]})",
             R"({"sentences": ["w1"], "sentence_embedding": []})",
             R"({"sentences": ["w1"], "sentence_embedding": [[1, 1, 1]]})",
             R"({"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, "1"]]})",
             R"({"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, null]]})",
             R"({"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, 1e99]]})",
         }) {
        golden(text);
        expect_error<ServerError>([&] { encoder.health(); }, "sent a golden.json that this client cannot read: ");
    }
    golden(R"({"sentences": ["w1"], "sentence_embedding": [[2, 2, 2, 2]]})");
    EXPECT_GE(encoder.health().min_cosine, 0.999999);
    golden(R"({"sentences": ["w1"], "sentence_embedding": [[2, 2, 2, -2]]})");
    expect_error<ServerError>([&] { encoder.health(); }, "canary failed at .* 0\\.500000, fp32 must reach 0\\.99");
}

TEST(Answers, AreCheckedAsTheConformanceFileSays) {
    for (const auto& [name, response] : conformance().answers()) {
        SCOPED_TRACE(name);
        auto found = read_embeddings(response, 3, 2);
        Manifest manifest;
        manifest.dimension = 2;
        Call call{std::make_shared<const Manifest>(manifest), nullptr, {}, "", 64, false, Matrix(3, 2), nullptr};
        std::optional<Failure> failure;
        if (const auto* wrong = std::get_if<Failure>(&found)) {
            failure = *wrong;
        } else {
            failure = call.fill_all({0, 1, 2}, std::get<std::string_view>(found));
        }
        if (name == "right") {
            ASSERT_FALSE(failure);
            EXPECT_EQ(call.result.values(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
        } else {
            ASSERT_TRUE(failure);
            EXPECT_EQ(failure->kind, Kind::server_error);
            EXPECT_TRUE(matches(failure->message, "^the server sent .*; expected ")) << failure->message;
        }
    }
}

TEST(Manifest, IsCheckedAsTheConformanceFileSays) {
    EXPECT_EQ(read_manifest(to_json(small_manifest())).dimension, 4);
    for (const auto& [name, value] : conformance().wrong_fields()) {
        Fields fields = small_manifest();
        fields[name] = value;
        expect_error<std::runtime_error>([&] { read_manifest(to_json(fields)); },
                                         "^the manifest's " + name + " is .*; expected ");
    }
}

}  // namespace sentriton
