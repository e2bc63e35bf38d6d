// The parts that need no server.

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <type_traits>

#include "arguments.hpp"
#include "checks.hpp"
#include "conformance.hpp"
#include "deadline.hpp"
#include "failure.hpp"
#include "pacing.hpp"
#include "requests.hpp"
#include "settings.hpp"
#include "similarity.hpp"

namespace sentriton {

static_assert(std::is_nothrow_move_constructible_v<SentenceEncoder> && !std::is_copy_constructible_v<SentenceEncoder>);
static_assert(std::is_base_of_v<InvalidInput, ContractMismatch>);
static_assert(std::is_nothrow_copy_constructible_v<Overloaded>);
// Containers without an order, and arguments that are no list of texts.
static_assert(!std::is_convertible_v<std::set<std::string>, Sentences> &&
              !std::is_convertible_v<std::string, Sentences>);
static_assert(!std::is_convertible_v<std::vector<std::vector<std::string>>, Sentences>);

TEST(Failure, HasTheClassOfItsStatus) {
    auto statuses = conformance().statuses();
    statuses.insert(statuses.end(),
                    {{"UNAVAILABLE", "Ssl handshake failed: SSL_ERROR_SSL: certificate verify failed", "AccessDenied"},
                     {"UNAVAILABLE", "Peer name 127.0.0.1 is not in peer certificate", "AccessDenied"},
                     {"CANCELLED", "the client cancelled it", "ServerError"}});
    for (const auto& [code, message, kind] : statuses) {
        const Failure failure = translate({code_named(code), message}, "host:1");
        EXPECT_TRUE(is_of_class(failure, kind)) << code << " " << message << " is " << failure.message;
        try {
            raise(failure);
        } catch (const SentritonError& error) {
            ASSERT_NE(error.status(), nullptr);
            EXPECT_EQ(error.status()->code, code_named(code));
            EXPECT_EQ(error.status()->message, message);
            EXPECT_STRNE(error.what(), "");
        }
    }
}

TEST(Pacing, PausesGrow) {
    const std::vector<double> longest = {0.1, 0.2, 0.4, 0.8, 1.6, 3, 3};
    for (std::size_t i = 0; i < longest.size(); ++i) {
        EXPECT_NEAR(Seconds(retry_pause(static_cast<int>(i) + 1, 0)).count(), 0.2 * longest[i], 1e-6);
        EXPECT_NEAR(Seconds(retry_pause(static_cast<int>(i) + 1, 1)).count(), longest[i], 1e-6);
    }
    EXPECT_LE(retry_pause(1000, jitter()), 3s);
}

TEST(Pacing, WindowOpensAndHalves) {
    Window window(16);
    Time now = Clock::now();
    for (int i = 0; i < 500; ++i) {  // twice as many in flight, twice the rate: a server that is not full
        now += Duration(1s) / window.limit();
        window.answered(100, now);
    }
    EXPECT_EQ(window.limit(), 16);
    EXPECT_EQ(window.next().limit(), 16);
    window.overloaded();
    EXPECT_EQ(window.limit(), 8);
    for (int i = 0; i < 5; ++i) {
        window.overloaded();
    }
    EXPECT_EQ(window.limit(), 1);
}

std::vector<RequestRows> planned(const std::vector<std::string>& texts, const Limits& limits) {
    const Texts checked = check_texts({texts.begin(), texts.end()}, false);
    Plan plan(checked, limits);
    std::vector<RequestRows> all;
    while (const auto rows = plan.next()) {
        all.push_back(*rows);
    }
    return all;
}

TEST(Plan, KeepsTheLimitsAndBeginsWithTheLongest) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < 300; ++i) {
        texts.push_back(repeated("가", i * 7919 % 200));
    }
    std::vector<std::size_t> order;
    for (const auto& rows : planned(texts, {64, 128, ""})) {
        std::size_t tokens = 0;
        for (const auto index : rows.indices) {
            tokens += std::min<std::size_t>(texts[index].size() / 3 + 2, 128);
            order.push_back(index);
        }
        EXPECT_LE(rows.indices.size(), 64U);
        EXPECT_LE(tokens, 4096U);
    }
    EXPECT_TRUE(
        std::is_sorted(order.begin(), order.end(), [&](auto a, auto b) { return texts[a].size() > texts[b].size(); }));
    EXPECT_EQ(std::set<std::size_t>(order.begin(), order.end()).size(), 300U);

    std::vector<std::string> big = {repeated("가", 400'000)};
    big.insert(big.end(), 20, repeated("가", 100'000));
    big.emplace_back("가");
    std::vector<std::size_t> sizes;
    for (const auto& rows : planned(big, {64, 128, repeated("나", 10'000)})) {
        sizes.push_back(rows.indices.size());
    }
    EXPECT_EQ(sizes, (std::vector<std::size_t>{1, 3, 3, 3, 3, 3, 3, 3}));
}

TEST(Deadline, ASuspendedProcessDoesNotBlameTheServer) {
    const Time begin = Clock::now();
    Deadline deadline(std::nullopt, 10s, begin);
    deadline.looked(begin + 30s);
    EXPECT_FALSE(deadline.over(begin + 38s));
    EXPECT_TRUE(deadline.over(begin + 40s));
}

TEST(Deadline, IsOverTwoMillisecondsEarlier) {
    const Time begin = Clock::now();
    const Deadline deadline(1s, 1min, begin);
    EXPECT_EQ(deadline.left(begin + 997ms), 3ms);
    EXPECT_FALSE(deadline.over(begin + 997ms));
    EXPECT_EQ(deadline.left(begin + 999ms), 0s);
    EXPECT_TRUE(deadline.over(begin + 999ms));
}

TEST(Settings, ComeFromTheCallThenTheEnvironmentThenTheDefaults) {
    const Variable url("SENTRITON_URL", "a:1, b:2");
    const Variable timeout("SENTRITON_TIMEOUT_S", "2.5");
    const Variable tls("SENTRITON_TLS", "on");
    const Variable priority("SENTRITON_PRIORITY", "bulk");
    Settings given;
    given.timeout = 7s;
    const CheckedSettings found = resolve_settings("", given);
    EXPECT_EQ(found.addresses, (std::vector<std::string>{"a:1", "b:2"}));
    EXPECT_EQ(found.timeout, Duration(7s));
    EXPECT_TRUE(found.tls);
    EXPECT_EQ(found.priority, Priority::bulk);
    EXPECT_EQ(found.max_in_flight, 16);
    EXPECT_EQ(found.stall_timeout, 1min);
    const CheckedSettings others = resolve_settings("c:3", {});
    EXPECT_EQ(others.url, "c:3");
    EXPECT_EQ(others.timeout, Duration(2500ms));
    for (const std::string name :
         {"TIMEOUT_S", "STALL_TIMEOUT_S", "MAX_IN_FLIGHT", "TLS", "PRIORITY", "ON_MODEL_CHANGE"}) {
        for (const std::string value : {"soon", "-1", "NaN", "Infinity"}) {
            const Variable wrong("SENTRITON_" + name, value);
            expect_error<InvalidInput>([] { SentenceEncoder("a:1"); },
                                       "^\\$SENTRITON_" + name + " is \"" + value + "\"; allowed are ");
        }
    }
}

TEST(Settings, TildeIsTheHomeFolder) {
    const Variable home("HOME", "/home/me");
    const Variable root_certificates("SENTRITON_ROOT_CERTIFICATES", "~/ca.pem");
    Settings given;
    given.client_certificate = "~me/own.pem";
    given.client_key = "~/own.key";
    const CheckedSettings found = resolve_settings("a:1", given);
    EXPECT_EQ(found.root_certificates, "/home/me/ca.pem");
    EXPECT_EQ(found.client_certificate, "~me/own.pem");
    EXPECT_EQ(found.client_key, "/home/me/own.key");
}

void expect_refused(const std::function<void(Settings&)>& change, const std::string& says) {
    Settings settings;
    change(settings);
    expect_error<InvalidInput>([&] { SentenceEncoder("a:1", settings); }, says);
}

TEST(Settings, AreRefusedIfTheyAreWrong) {
    expect_refused([](auto& given) { given.timeout = 0s; }, "^timeout is 0 s; allowed are times above 0$");
    expect_refused([](auto& given) { given.timeout = Seconds(std::nan("")); }, "^timeout is nan s; allowed are");
    expect_refused([](auto& given) { given.stall_timeout = -1s; }, "^stall_timeout is -1 s; allowed are");
    expect_refused([](auto& given) { given.max_in_flight = 0; },
                   "^max_in_flight is 0; allowed are whole numbers from 1$");
    for (const std::string url : {",", "localhost", "http://a:1", "a:0", "a:65536", "a b:1", "::1:80"}) {
        expect_error<InvalidInput>([&] { SentenceEncoder{url}; }, "^url is .*; give host:port");
    }
    const std::string right = "a:1,[::1]:2,dns:///c.d:3,dns://10.0.0.2:53/e.f:4";
    EXPECT_EQ(resolve_settings(right, {}).addresses.size(), 4U);
    EXPECT_EQ(SentenceEncoder(right).url(), right);
    Settings endless;
    endless.timeout = Seconds(std::numeric_limits<double>::infinity());
    EXPECT_EQ(resolve_settings("a:1", endless).timeout, longest_time);
}

TEST(Arguments, AreRefusedIfTheyAreNotUtf8) {
    const SentenceEncoder encoder("localhost:1");
    expect_error<InvalidInput>(
        [&] { encoder.encode({"fine", "not \xff fine"}); },
        "^sentences\\[1\\] has the byte 0xff at position 4 \\(character 4\\), .*; give valid UTF-8$");
    expect_error<InvalidInput>([&] { encoder.encode({"fine \xef\xbf\xbd", "가\xed\xa0\x80"}); },
                               "^sentences\\[1\\] has the byte 0xed at position 3 \\(character 1\\), .* surrogate");
    EncodeOptions options;
    options.prompt = "\xea";
    expect_error<InvalidInput>([&] { encoder.encode({"fine"}, options); }, "^prompt has the byte 0xea at position 0");
    auto later = encoder.encode_one_async("\xc0\xaf");
    expect_error<InvalidInput>([&] { later.get(); }, "0xc0 at position 0");
    EXPECT_EQ(count_characters("a\xc3\xa9가\xf0\x9f\x8e\x89", "text"), 4U);
    for (const char* wrong : {"\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5", "\xf0\x9f\x8e"}) {
        expect_error<InvalidInput>([&] { count_characters(wrong, "text"); }, "at position 0");
    }
}

TEST(Similarity, IsTheModels) {
    const Matrix first = Matrix::from_rows({{1, 0}, {3, 4}});
    const Matrix second = Matrix::from_rows({{0, 2}});
    const std::vector<std::pair<Similarity, std::pair<double, double>>> expected = {
        {Similarity::cosine, {0, 0.8}},
        {Similarity::dot, {0, 8}},
        {Similarity::euclidean, {-std::sqrt(5), -std::sqrt(13)}},
        {Similarity::manhattan, {-3, -5}}};
    for (const auto& [similarity, scores] : expected) {
        const Matrix found = score_matrix(similarity, first, second);
        ASSERT_EQ(found.rows(), 2U);
        ASSERT_EQ(found.columns(), 1U);
        EXPECT_NEAR(found[0][0], scores.first, 1e-6);
        EXPECT_NEAR(found[1][0], scores.second, 1e-6);
    }
    expect_error<InvalidInput>([&] { score_matrix(Similarity::dot, first, Matrix::from_rows({{1}})); },
                               "2 and 1 dimensions");
}

TEST(Matrix, HasRowsThatAreViews) {
    Matrix matrix = Matrix::from_rows({{1, 2}, {3, 4}});
    matrix.data()[1] = 5;
    EXPECT_EQ(matrix[0][1], 5);
    EXPECT_EQ(matrix.row(1).size(), 2U);
    std::vector<float> seen;
    for (const Row row : matrix) {
        seen.insert(seen.end(), row.begin(), row.end());
    }
    EXPECT_EQ(seen, matrix.values());
    EXPECT_THROW(matrix.row(2), std::out_of_range);
    EXPECT_EQ(std::move(matrix).values(), (std::vector<float>{1, 5, 3, 4}));
    expect_error<InvalidInput>([] { Matrix::from_rows({{1}, {1, 2}}); }, "row 1 has 2 numbers and row 0 has 1");
}

}  // namespace sentriton
