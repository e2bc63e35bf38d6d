// The cases that every client passes, against the server at $SENTRITON_URL. tests/polyglot/test_cpp.py runs them.

#include <cmath>

#include "checks.hpp"
#include "conformance.hpp"
#include "settings.hpp"
#include "similarity.hpp"

namespace sentriton {

namespace {

using Object = google::protobuf::Map<std::string, Json>;

const Object& object(const Json& json, const std::string& name) {
    static const Json none;
    const auto& fields = json.struct_value().fields();
    return (fields.count(name) != 0 ? fields.at(name) : none).struct_value().fields();
}

std::vector<std::size_t> places(const Json& json, const std::string& name) {
    std::vector<std::size_t> found;
    const auto& fields = json.struct_value().fields();
    if (fields.count(name) != 0) {
        for (const auto& each : fields.at(name).list_value().values()) {
            found.push_back(static_cast<std::size_t>(each.number_value()));
        }
    }
    return found;
}

/// The bytes of a string whose surrogates were each encoded on their own.
std::string broken_utf16(const std::vector<std::size_t>& units) {
    std::string text;
    for (const auto unit : units) {
        text += static_cast<char>(0xe0 | unit >> 12);
        text += static_cast<char>(0x80 | (unit >> 6 & 0x3f));
        text += static_cast<char>(0x80 | (unit & 0x3f));
    }
    return text;
}

struct Case {
    std::string name;
    std::string url = real_url();
    Settings settings;
    EncodeOptions options;
    std::vector<std::string> texts;
    std::vector<std::vector<float>> vectors;
    bool single = false;
    std::string error;
    std::vector<std::string> says;
};

void read_settings(const Object& given, Case& to) {
    for (const auto& [name, value] : given) {
        if (name == "url") {
            to.url = value.string_value();
        } else if (name == "timeout_s") {
            to.settings.timeout = Seconds(value.number_value());
        } else if (name == "stall_timeout_s") {
            to.settings.stall_timeout = Seconds(value.number_value());
        } else if (name == "priority") {
            to.settings.priority = priority_named(value.string_value());
        } else if (name == "max_in_flight") {
            to.settings.max_in_flight = static_cast<int>(value.number_value());
        } else {
            ADD_FAILURE() << "unknown setting " << name;
        }
    }
}

void read_options(const Object& given, Case& to) {
    for (const auto& [name, value] : given) {
        if (name == "timeout_s") {
            to.options.timeout = Seconds(value.number_value());
        } else if (name == "batch_size") {
            const double rows = value.number_value();
            if (rows != std::floor(rows)) {
                // The compiler refuses half a row in braces: the message is that of the type.
                raise(invalid_input(to_text(value) + " is no int; allowed are whole numbers from 1"));
            }
            to.options.batch_size = static_cast<int>(rows);
        } else if (name == "truncate_dim") {
            to.options.truncate_dim = static_cast<int>(value.number_value());
        } else if (name == "normalize_embeddings") {
            to.options.normalize_embeddings = value.bool_value();
        } else if (name == "prompt_name") {
            to.options.prompt_name = value.string_value();
        } else if (name == "prompt") {
            to.options.prompt = value.string_value();
        } else {
            ADD_FAILURE() << "unknown option " << name;
        }
    }
}

void read_texts(const Json& json, Case& to) {
    const auto& fields = json.struct_value().fields();
    for (const auto place : places(json, "sentences")) {
        to.texts.push_back(conformance().texts()[place]);
        to.vectors.push_back(conformance().vectors()[place]);
    }
    if (fields.count("vectors") != 0) {
        to.vectors.clear();
        for (const auto& each : fields.at("vectors").list_value().values()) {
            to.vectors.push_back(decode_vector(each.string_value()));
        }
    }
    if (fields.count("utf8") != 0) {
        to.texts = {decode_base64(fields.at("utf8").string_value())};
    }
    if (fields.count("utf16") != 0) {
        to.texts = {broken_utf16(places(json, "utf16"))};
    }
}

Matrix embed(const Json& json, Case& to) {
    read_settings(object(json, "settings"), to);
    read_options(object(json, "options"), to);
    read_texts(json, to);
    const SentenceEncoder encoder(to.url, to.settings);
    if (to.single) {
        return Matrix::from_rows({encoder.encode_one(to.texts.front(), to.options)});
    }
    return encoder.encode(to.texts, to.options);
}

void check(const Matrix& found, const Case& expected) {
    ASSERT_EQ(found.rows(), expected.vectors.size());
    for (std::size_t i = 0; i < found.rows(); ++i) {
        const auto& vector = expected.vectors[i];
        const auto columns =
            static_cast<std::size_t>(expected.options.truncate_dim.value_or(static_cast<int>(vector.size())));
        const Row right(vector.data(), columns);
        ASSERT_EQ(found[i].size(), columns);
        ASSERT_GE(cosine(found[i], right), conformance().min_cosine()) << "row " << i;
        ASSERT_NEAR(length(found[i]), expected.options.normalize_embeddings ? 1 : length(right), 1e-4) << "row " << i;
    }
}

void run_case(const Json& json) {
    const auto& fields = json.struct_value().fields();
    Case one;
    one.name = fields.at("name").string_value();
    one.single = fields.count("single") != 0;
    SCOPED_TRACE(one.name);
    if (fields.count("error") == 0) {
        check(embed(json, one), one);
        return;
    }
    try {
        embed(json, one);
        ADD_FAILURE() << "no error";
    } catch (const std::exception& error) {
        EXPECT_TRUE(is_of_class(error, fields.at("error").string_value())) << error.what();
        for (const auto& each : fields.at("says").list_value().values()) {
            EXPECT_NE(std::string(error.what()).find(each.string_value()), std::string::npos) << error.what();
        }
    }
}

}  // namespace

class ConformanceTest : public testing::Test {
    void SetUp() override {
        if (real_url().empty()) {
            GTEST_SKIP() << "needs a server of the bundled checkpoint: set SENTRITON_URL";
        }
    }
};

TEST_F(ConformanceTest, Cases) {
    for (const auto& each : conformance().at("cases").list_value().values()) {
        run_case(each);
        if (!HasFailure()) {
            std::printf("passed: %s\n", each.struct_value().fields().at("name").string_value().c_str());
        }
    }
}

TEST_F(ConformanceTest, Similarity) {
    const Json& given = conformance().at("similarity");
    const auto matrix = [&](const std::string& name) {
        std::vector<std::vector<float>> rows;
        for (const auto place : places(given, name)) {
            rows.push_back(conformance().vectors()[place]);
        }
        return Matrix::from_rows(rows);
    };
    const Matrix found = SentenceEncoder(real_url()).similarity(matrix("first"), matrix("second"));
    const auto& scores = given.struct_value().fields().at("scores").list_value().values();
    for (std::size_t i = 0; i < found.rows(); ++i) {
        for (std::size_t j = 0; j < found.columns(); ++j) {
            const auto& row = scores[static_cast<int>(i)].list_value();
            EXPECT_NEAR(found[i][j], row.values(static_cast<int>(j)).number_value(), 1e-5);
        }
    }
}

TEST_F(ConformanceTest, Health) {
    const HealthReport report = SentenceEncoder(real_url()).health();
    EXPECT_GE(report.min_cosine, 0.99999);
    EXPECT_EQ(report.manifest.dimension, conformance().at("dimension").number_value());
}

}  // namespace sentriton
