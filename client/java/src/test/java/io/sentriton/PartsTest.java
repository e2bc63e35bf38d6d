package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import io.grpc.Status;
import io.sentriton.internal.inference.ModelInferRequest;
import io.sentriton.internal.inference.ModelInferResponse;
import java.nio.FloatBuffer;
import java.nio.channels.ClosedChannelException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** The parts that need no server. */
class PartsTest {
    private static Stream<JsonElement> of(String name) {
        return StreamSupport.stream(Conformance.FILE.content.getAsJsonArray(name).spliterator(), false);
    }

    @TestFactory
    Stream<DynamicTest> statuses() {
        return of("statuses")
                .map(JsonElement::getAsJsonArray)
                .map(each -> DynamicTest.dynamicTest(each.toString(), () -> checkStatus(each)));
    }

    private static void checkStatus(JsonArray each) {
        String message = each.get(1).getAsString();
        Status status = Status.fromCode(Status.Code.valueOf(each.get(0).getAsString()));
        SentritonException error = Errors.translate(status.withDescription(message), null, "host:1");
        assertEquals(each.get(2).getAsString() + "Exception", error.getClass().getSimpleName());
        assertNotNull(error.getStatus());
        assertEquals(message, error.getStatus().getDescription());
        assertFalse(error.getMessage().isEmpty());
    }

    @Test
    void aConnectionThatClosedUnderARequestIsAnAbsentServer() {
        Status closed = Status.UNKNOWN.withDescription("channel closed").withCause(new ClosedChannelException());
        assertInstanceOf(ServerUnavailableException.class, Errors.translate(closed, null, "host:1"));
        Status own = Status.UNKNOWN.withDescription("channel closed");
        assertInstanceOf(ServerErrorException.class, Errors.translate(own, null, "host:1"));
    }

    @Test
    void pausesGrowToThreeSecondsWithJitter() {
        double[] longest = {0.1, 0.2, 0.4, 0.8, 1.6, 3, 3, 3};
        for (int attempt = 1; attempt <= longest.length; attempt++) {
            assertEquals(longest[attempt - 1], Backoff.delayS(attempt, () -> 1), 1e-12);
        }
        assertEquals(0.02, Backoff.delayS(1, () -> 0), 1e-12);
    }

    @Test
    void aDeadlineIsOverTwoMillisecondsEarlier() {
        Deadline deadline = new Deadline(1, 60, 0);
        assertEquals(0.003, deadline.leftS(0.997), 1e-9);
        assertFalse(deadline.over(0.997));
        assertEquals(0, deadline.leftS(0.999));
        assertTrue(deadline.over(0.999));
    }

    @Test
    void aHundredRetriesAndAFifthOfOneMoreForEachAnswer() {
        RetryBudget budget = new RetryBudget();
        int taken = 0;
        while (budget.take()) {
            taken += 1;
        }
        assertEquals(100, taken);
        for (int answer = 0; answer < 4; answer++) {
            budget.answered();
        }
        assertFalse(budget.take());
        budget.answered();
        budget.answered();
        assertTrue(budget.take());
    }

    @Test
    void theWindowOpensWhileTheRateRisesAndHalvesOnOverload() {
        Window window = new Window(16);
        assertEquals(4, window.limit());
        double now = 0;
        // Twice as many in flight, twice the rate: a server that is not full.
        for (int answer = 0; answer < 500; answer++) {
            now += 1.0 / window.limit();
            window.answered(100, now);
        }
        assertEquals(16, window.limit());
        assertEquals(16, window.anew().limit());
        window.overloaded();
        assertEquals(8, window.limit());
        for (int time = 0; time < 5; time++) {
            window.overloaded();
        }
        assertEquals(1, window.limit());
    }

    @Test
    void joinedRequestsOpenAgainByOnePerRound() {
        assertEquals(8, Window.ofJoined(List.of("a:1", "b:1"), 16).limit());
        assertEquals(3, Window.ofJoined(List.of("a:1", "b:1"), 3).limit());
        assertEquals(16, Window.ofJoined(List.of("dns:///a:1"), 16).limit());
        Window window = Window.ofJoined(List.of("a:1"), 16);
        window.overloaded();
        double now = 0;
        for (int limit = 2; limit <= 4; limit++) {
            assertEquals(limit, window.limit());
            for (int answer = 0; answer < (limit == 2 ? 3 : limit); answer++) {
                window.answered(100, ++now);
            }
        }
        assertEquals(4, window.limit());
    }

    private static List<RequestRows> plan(String[] texts, String prompt, int maxSeqLength) {
        RequestPlan plan = new RequestPlan(texts, RequestPlan.longestFirst(texts), prompt, 64, maxSeqLength);
        List<RequestRows> requests = new ArrayList<>();
        for (RequestRows rows = plan.next(); rows != null; rows = plan.next()) {
            requests.add(rows);
        }
        return requests;
    }

    private static int[] sizes(List<RequestRows> requests) {
        return requests.stream().mapToInt(rows -> rows.indices.length).toArray();
    }

    @Test
    void requestsHaveTheLongestFirstAndEachSentenceOnce() {
        String[] texts = new String[300];
        Arrays.setAll(texts, number -> "가".repeat(number * 7919 % 200));
        List<RequestRows> requests = plan(texts, "", 128);
        int[] order = requests.stream().flatMapToInt(rows -> Arrays.stream(rows.indices)).toArray();
        assertArrayEquals(RequestPlan.longestFirst(texts), order);
        for (int place = 1; place < order.length; place++) {
            assertTrue(texts[order[place]].length() <= texts[order[place - 1]].length());
        }
        int[] all = order.clone();
        Arrays.sort(all);
        for (int place = 0; place < all.length; place++) {
            assertEquals(place, all[place]);
        }
        requests.forEach(rows -> assertTrue(rows.indices.length <= 64 && rows.tokens <= 4096));
    }

    @Test
    void requestsHaveAsManyRowsAsFit() {
        List<String> texts = new ArrayList<>(List.of("a".repeat(4000), "a".repeat(90), "a".repeat(8), "a".repeat(8)));
        texts.addAll(Collections.nCopies(64, "a"));
        String[] given = texts.toArray(String[]::new);
        assertArrayEquals(new int[] {2, 64, 2}, sizes(plan(given, "", 8192)));
        assertArrayEquals(new int[] {64, 4}, sizes(plan(given, "", 64)));
        assertArrayEquals(new int[] {1, 1}, sizes(plan(new String[] {"a".repeat(9000), "a"}, "", 8192)));
    }

    @Test
    void requestsHaveNoMoreThanAMebibyteOfUtf8PromptAndAll() {
        List<String> texts = new ArrayList<>(List.of("가".repeat(400_000)));
        texts.addAll(Collections.nCopies(20, "가".repeat(100_000)));
        texts.add("가");
        List<RequestRows> requests = plan(texts.toArray(String[]::new), "나".repeat(10_000), 128);
        assertArrayEquals(new int[] {1, 3, 3, 3, 3, 3, 3, 3}, sizes(requests));
    }

    @Test
    void textTravelsAsLengthAndUtf8() {
        RequestRows rows = plan(new String[] {"ab", "가", ""}, "", 128).get(0);
        ModelInferRequest request = Protocol.textRequest(rows.content, 3, "f", Priority.BULK, 1.5);
        assertEquals(List.of("ab", "가", ""), SmallServer.texts(request));
        assertEquals(List.of(3L, 1L), request.getInputs(0).getShapeList());
        assertEquals("bulk", request.getParametersOrThrow("lane").getStringParam());
        assertEquals(1_500_000, request.getParametersOrThrow("timeout").getInt64Param());
    }

    @TestFactory
    Stream<DynamicTest> answers() {
        return of("answers").map(JsonElement::getAsJsonObject).map(each -> {
            String name = each.get("case").getAsString();
            return DynamicTest.dynamicTest(name, () -> {
                ModelInferResponse answer = answer(each);
                if (name.equals("right")) {
                    FloatBuffer values = Protocol.readSentenceEmbedding(answer, 3, 2);
                    for (int at = 0; at < 6; at++) {
                        assertEquals(at + 1, values.get(at));
                    }
                    return;
                }
                ServerErrorException error = assertThrows(
                        ServerErrorException.class, () -> Protocol.readSentenceEmbedding(answer, 3, 2));
                assertTrue(error.getMessage().matches("the server sent .*; expected .*"), error.getMessage());
            });
        });
    }

    private static ModelInferResponse answer(JsonObject fields) {
        ByteString raw = ByteString.copyFrom(Base64.getDecoder().decode(fields.get("content").getAsString()));
        JsonArray sizes = fields.getAsJsonArray("shape");
        long[] shape = new Gson().fromJson(sizes, long[].class);
        return SmallServer.response(
                        fields.get("model_name").getAsString(),
                        fields.get("name").getAsString(),
                        fields.get("datatype").getAsString(),
                        raw,
                        shape)
                .build();
    }

    @TestFactory
    Stream<DynamicTest> wrongFields() {
        String right = SmallServer.MANIFEST.replace('\'', '"');
        assertEquals(64, Manifest.read(right).maxBatchSize());
        return of("wrong_fields").map(JsonElement::getAsJsonArray).map(each -> DynamicTest.dynamicTest(
                each.toString(), () -> {
                    JsonObject manifest = JsonParser.parseString(right).getAsJsonObject();
                    String name = each.get(0).getAsString();
                    manifest.add(name, each.get(1));
                    String text = "{" + manifest.entrySet().stream()
                            .map(field -> '"' + field.getKey() + "\": " + field.getValue())
                            .collect(java.util.stream.Collectors.joining(", ")) + "}";
                    IllegalArgumentException error =
                            assertThrows(IllegalArgumentException.class, () -> Manifest.read(text));
                    assertTrue(
                            error.getMessage().matches("the manifest's " + name + " is .*; expected .*"),
                            error.getMessage());
                }));
    }

    @Test
    void aMissingFieldIsNamed() {
        IllegalArgumentException error = assertThrows(IllegalArgumentException.class, () -> Manifest.read("{}"));
        assertTrue(error.getMessage().startsWith("the manifest lacks default_prompt_name, device"), error.getMessage());
    }

    @Test
    void sentencesMustBeStringsOfWholeCharacters() {
        List<String> withNull = Arrays.asList("a", null);
        assertInvalid("sentences[1] is null; every sentence must be a string", () -> Arguments.texts(withNull));
        assertInvalid("sentences is null; give a list of strings", () -> Arguments.texts(null));
        assertInvalid("sentence is null; give a string", () -> Arguments.text(null));
        @SuppressWarnings({"unchecked", "rawtypes"})
        List<String> raw = (List) List.of("a", 7);
        assertInvalid("sentences[1] is 7 (Integer); every sentence", () -> Arguments.texts(raw));
        assertInvalid("sentences[0] has a lone surrogate at character 1", () -> Arguments.texts(List.of("😀\ud83d")));
        assertEquals("가😀", Arguments.texts(List.of("가😀"))[0]);
    }

    private static void assertInvalid(String says, org.junit.jupiter.api.function.Executable body) {
        InvalidInputException error = assertThrows(InvalidInputException.class, body);
        assertTrue(error.getMessage().startsWith(says), error.getMessage());
    }

    @Test
    void similarityOfEachFunction() {
        float[][] first = {{1, 0}, {3, 4}};
        float[][] second = {{0, 2}};
        Map<Manifest.SimilarityFunction, double[]> scores = Map.of(
                Manifest.SimilarityFunction.COSINE, new double[] {0, 0.8},
                Manifest.SimilarityFunction.DOT, new double[] {0, 8},
                Manifest.SimilarityFunction.EUCLIDEAN, new double[] {-Math.sqrt(5), -Math.sqrt(13)},
                Manifest.SimilarityFunction.MANHATTAN, new double[] {-3, -5});
        scores.forEach((function, expected) -> {
            float[][] found = Similarity.scores(function, first, second);
            assertEquals(expected[0], found[0][0], 1e-6);
            assertEquals(expected[1], found[1][0], 1e-6);
        });
        assertInvalid(
                "embeddings of 1 and 2 dimensions",
                () -> Similarity.scores(Manifest.SimilarityFunction.DOT, first, new float[][] {{1}}));
    }
}
