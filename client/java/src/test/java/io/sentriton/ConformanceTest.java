package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.ByteString;
import java.math.BigDecimal;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;

/** The cases that every client passes, against the server at $SENTRITON_URL. */
@EnabledIfEnvironmentVariable(
        named = "SENTRITON_URL",
        matches = ".+",
        disabledReason = "needs a server: set SENTRITON_URL")
class ConformanceTest {
    private static final Conformance FILE = Conformance.FILE;

    @TestFactory
    Stream<DynamicTest> cases() {
        return StreamSupport.stream(FILE.content.getAsJsonArray("cases").spliterator(), false)
                .map(JsonElement::getAsJsonObject)
                .map(each -> DynamicTest.dynamicTest(each.get("name").getAsString(), () -> check(each)));
    }

    @Test
    void similarity() {
        JsonObject given = FILE.content.getAsJsonObject("similarity");
        float[][] first = rows(given.getAsJsonArray("first"));
        float[][] second = rows(given.getAsJsonArray("second"));
        try (SentenceEncoder encoder = SentenceEncoder.fromEnvironment()) {
            float[][] found = encoder.similarity(first, second);
            JsonArray expected = given.getAsJsonArray("scores");
            assertEquals(expected.size(), found.length);
            for (int row = 0; row < found.length; row++) {
                for (int column = 0; column < found[row].length; column++) {
                    double score = expected.get(row).getAsJsonArray().get(column).getAsDouble();
                    assertEquals(score, found[row][column], 1e-5);
                }
            }
        }
    }

    private static void check(JsonObject each) throws Exception {
        if (!each.has("error")) {
            checkVectors(each, embed(each));
            return;
        }
        String kind = each.get("error").getAsString() + "Exception";
        if (kind.equals("InvalidInputException") && isFraction(each)) {
            return;
        }
        SentritonException error = assertThrows(SentritonException.class, () -> embed(each));
        assertEquals(kind, error.getClass().getSimpleName(), error.getMessage());
        for (JsonElement words : each.getAsJsonArray("says")) {
            assertTrue(error.getMessage().contains(words.getAsString()), error.getMessage());
        }
    }

    /** Half a row: in this language no such call compiles. */
    private static boolean isFraction(JsonObject each) throws Exception {
        JsonObject options = each.getAsJsonObject("options");
        if (options == null || !options.has("batch_size") || options.get("batch_size").getAsDouble() % 1 == 0) {
            return false;
        }
        assertEquals(
                int.class, EncodeOptions.Builder.class.getMethod("batchSize", int.class).getParameterTypes()[0]);
        return true;
    }

    private static void checkVectors(JsonObject each, float[][] found) {
        JsonObject options = each.has("options") ? each.getAsJsonObject("options") : new JsonObject();
        float[][] full = each.has("vectors")
                ? texts(each.getAsJsonArray("vectors")).map(Conformance::decode).toArray(float[][]::new)
                : rows(each.getAsJsonArray("sentences"));
        assertEquals(full.length, found.length);
        for (int row = 0; row < full.length; row++) {
            int dimension = options.has("truncate_dim") ? options.get("truncate_dim").getAsInt() : full[row].length;
            float[] expected = java.util.Arrays.copyOf(full[row], dimension);
            FILE.assertVector(expected, found[row], "row " + row);
            double length = options.has("normalize_embeddings") ? 1 : Conformance.length(expected);
            assertEquals(length, Conformance.length(found[row]), 1e-4);
        }
    }

    private static float[][] embed(JsonObject each) throws Exception {
        if (each.has("utf8")) {
            return sendBytes(Base64.getDecoder().decode(each.get("utf8").getAsString()));
        }
        // Settings travel as variables: those of this language cannot hold every wrong value.
        Map<String, String> variables = new HashMap<>(System.getenv());
        if (each.has("settings")) {
            each.getAsJsonObject("settings").entrySet().forEach(setting -> variables.put(
                    "SENTRITON_" + setting.getKey().toUpperCase(java.util.Locale.ROOT),
                    setting.getValue().getAsString()));
        }
        try (SentenceEncoder encoder = new SentenceEncoder(new Settings(SentenceEncoder.builder(), variables::get))) {
            List<String> sentences = sentences(each);
            EncodeOptions options = options(each.getAsJsonObject("options"));
            return each.has("single")
                    ? new float[][] {encoder.encode(sentences.get(0), options)}
                    : encoder.encode(sentences, options);
        }
    }

    private static EncodeOptions options(JsonObject given) {
        EncodeOptions.Builder options = EncodeOptions.builder();
        if (given != null) {
            given.entrySet().forEach(option -> set(options, option.getKey(), option.getValue()));
        }
        return options.build();
    }

    private static void set(EncodeOptions.Builder options, String name, JsonElement value) {
        switch (name) {
            case "prompt_name":
                options.promptName(value.getAsString());
                break;
            case "prompt":
                options.prompt(value.getAsString());
                break;
            case "batch_size":
                options.batchSize(value.getAsInt());
                break;
            case "normalize_embeddings":
                options.normalizeEmbeddings(value.getAsBoolean());
                break;
            case "truncate_dim":
                options.truncateDim(value.getAsInt());
                break;
            case "timeout_s":
                BigDecimal nanos = value.getAsBigDecimal().movePointRight(9);
                options.timeout(Duration.ofNanos(nanos.longValueExact()));
                break;
            default:
                throw new IllegalArgumentException("the tests do not know the option " + name);
        }
    }

    private static List<String> sentences(JsonObject each) {
        List<String> sentences = new ArrayList<>();
        if (each.has("utf16")) {
            StringBuilder text = new StringBuilder();
            each.getAsJsonArray("utf16").forEach(unit -> text.append((char) unit.getAsInt()));
            sentences.add(text.toString());
        } else {
            each.getAsJsonArray("sentences").forEach(place -> sentences.add(FILE.texts.get(place.getAsInt())));
        }
        return sentences;
    }

    /** Strings of this language hold no bytes, so these go in a request made by hand. */
    private static float[][] sendBytes(byte[] bytes) throws Exception {
        Settings settings = new Settings(SentenceEncoder.builder(), System::getenv);
        Session session = new Session(settings);
        Connection connection = session.endpoints.all.get(0).connection;
        try {
            Manifest manifest = Assets.fetch(connection, Assets.MANIFEST, 10, Manifest::read).get();
            ByteString content = Protocol.bytesTensor(List.of(bytes));
            CompletableFuture<float[][]> answer = new CompletableFuture<>();
            connection.infer(
                    Protocol.textRequest(content, 1, manifest.fingerprint(), Priority.QUERY, 10),
                    10,
                    (response, error) -> answer.completeExceptionally(error == null ? new AssertionError() : error));
            return answer.get(20, TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            throw (SentritonException) error.getCause();
        } finally {
            session.close();
        }
    }

    private static Stream<String> texts(JsonArray array) {
        return IntStream.range(0, array.size()).mapToObj(place -> array.get(place).getAsString());
    }

    private static float[][] rows(JsonArray places) {
        return IntStream.range(0, places.size())
                .mapToObj(place -> FILE.vectors.get(places.get(place).getAsInt()))
                .toArray(float[][]::new);
    }
}
