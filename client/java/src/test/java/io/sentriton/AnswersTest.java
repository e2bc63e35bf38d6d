package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.sentriton.internal.inference.ModelInferResponse;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A server that answers wrongly. */
class AnswersTest extends ServerTest {
    private static final List<String> TWELVE = SmallServer.WORDS.subList(0, 12); // too many to join
    private static final Map<String, Consumer<ModelInferResponse.Builder>> WRONG = new LinkedHashMap<>();

    static {
        WRONG.put("shape \\[1, 4\\]; expected \\[12, 4\\]", shape(1, 4));
        WRONG.put("shape \\[13, 4\\]; expected \\[12, 4\\]", shape(13, 4));
        WRONG.put("shape \\[12, 1\\]; expected", shape(12, 1));
        WRONG.put("shape \\[12\\]; expected", shape(12));
        WRONG.put("shape \\[12, 4, 1\\]; expected", shape(12, 4, 1));
        WRONG.put("NaN or infinity in row 1; expected numbers", number(Float.NaN));
        WRONG.put("NaN or infinity in row 1;", number(Float.NEGATIVE_INFINITY));
        WRONG.put("as \"INT32\"; expected FP32", SmallServer.output(output -> output.setDatatype("INT32")));
        WRONG.put("44 bytes .*; expected 192", answer -> answer.setRawOutputContents(0, zeros(44)));
        WRONG.put("outputs \"tokens\" with 1 contents", SmallServer.output(output -> output.setName("tokens")));
        WRONG.put("with 0 contents", ModelInferResponse.Builder::clearRawOutputContents);
        WRONG.put("model \"rerank\"; expected embed_text", answer -> answer.setModelName("rerank"));
        WRONG.put("model \"\"; expected embed_text", ModelInferResponse.Builder::clear);
    }

    private static ByteString zeros(int size) {
        return ByteString.copyFrom(new byte[size]);
    }

    private static Consumer<ModelInferResponse.Builder> shape(long... sizes) {
        int count = (int) Arrays.stream(sizes).reduce(Float.BYTES, (product, size) -> product * size);
        return SmallServer.output(output -> output.clearShape()
                        .addAllShape(Arrays.stream(sizes).boxed().collect(Collectors.toList())))
                .andThen(answer -> answer.setRawOutputContents(0, zeros(count)));
    }

    private static Consumer<ModelInferResponse.Builder> number(float value) {
        return answer -> {
            byte[] raw = answer.getRawOutputContents(0).toByteArray();
            java.nio.ByteBuffer.wrap(raw).order(java.nio.ByteOrder.LITTLE_ENDIAN).putFloat(20, value);
            answer.setRawOutputContents(0, ByteString.copyFrom(raw));
        };
    }

    @Test
    void aWrongEmbeddingIsRefusedAndNotRetried() {
        SmallServer server = server();
        SentenceEncoder encoder = open(server);
        assertEmbedded(TWELVE, encoder.encode(TWELVE));
        assertEmbedded(THREE, encoder.encode(THREE));
        WRONG.forEach((says, change) -> {
            server.change = change;
            int before = server.received.get();
            String message = "^wrong answer from " + server.address() + ": the server sent .*" + says
                    + ".* \\(0 of 12 sentences were embedded\\)$";
            assertFails(ServerErrorException.class, message, () -> encoder.encode(TWELVE));
            assertEquals(before + 1, server.received.get());
            String joined = says.replace("12", "3").replace("192", "48");
            if (!says.contains("44")) {
                assertFails(
                        ServerErrorException.class,
                        "^wrong answer from " + server.address() + ": .*(?:" + joined + "|" + says
                                + "|shape).* \\(0 of 3 sentences were embedded\\)$",
                        () -> encoder.encode(THREE));
            }
        });
    }

    @Test
    void aWrongManifestIsTheServersErrorThatNamesTheField() {
        SmallServer server = server();
        server.manifest = server.manifest.replace("\"max_batch_size\": 64", "\"max_batch_size\": null");
        String says = "^" + server.address() + " sent a manifest.json .* max_batch_size is null; expected ";
        SentenceEncoder encoder = open(server);
        assertFails(ServerErrorException.class, says, () -> encoder.encode(THREE));
        assertFails(ServerErrorException.class, says, encoder::health);
    }

    static List<String> noManifests() {
        return List.of("", "{", "[]", "null", "3", "{}", "NaN", "{} {}", "[".repeat(100_000));
    }

    @ParameterizedTest
    @MethodSource("noManifests")
    void noManifest(String text) {
        SmallServer server = server();
        server.manifest = text;
        String says = "sent a manifest.json that this client cannot read: ";
        assertFails(ServerErrorException.class, says, () -> open(server).encode(THREE));
    }

    @ParameterizedTest
    @ValueSource(strings = {"0200000078", "00", "", "02000000787802000000"})
    void aWrongAssetIsRefused(String hex) {
        SmallServer server = server();
        byte[] raw = new byte[hex.length() / 2];
        for (int at = 0; at < raw.length; at++) {
            raw[at] = (byte) Integer.parseInt(hex.substring(2 * at, 2 * at + 2), 16);
        }
        server.changeAsset = answer -> answer.setRawOutputContents(0, ByteString.copyFrom(raw));
        String says = "in " + raw.length + " bytes that begin with 0x.*; expected shape";
        assertFails(ServerErrorException.class, says, () -> open(server).encode(THREE));
        assertFails(ServerErrorException.class, says, () -> open(server).health());
    }

    @Test
    void anAssetOfAnotherKindIsRefused() {
        SmallServer server = server();
        SentenceEncoder encoder = open(server);
        server.changeAsset = SmallServer.output(output -> output.setDatatype("FP32"));
        assertFails(ServerErrorException.class, "as \"FP32\"; expected BYTES", encoder::info);
        server.changeAsset = SmallServer.output(output -> output.clearShape().addShape(2));
        assertFails(ServerErrorException.class, "shape \\[2\\]", encoder::info);
        server.changeAsset = SmallServer.output(output -> output.setName("text"));
        assertFails(ServerErrorException.class, "outputs \"text\" with 1 contents; expected content", encoder::info);
        server.changeAsset = answer -> {};
        assertEquals(4, encoder.info().dimension());
    }

    @Test
    void wrongGoldenVectorsAreTheServersError() {
        SmallServer server = server();
        SentenceEncoder encoder = open(server);
        String[] wrong = {
            "{}", "[]", "null", "no JSON",
            "{\"sentences\": [], \"sentence_embedding\": []}",
            "{\"sentences\": [1], \"sentence_embedding\": [[1, 1, 1, 1]]}",
            "{\"sentences\": [\"w1\"], \"sentence_embedding\": null}",
            "{\"sentences\": [\"w1\"], \"sentence_embedding\": [[1, 1, 1]]}",
            "{\"sentences\": [\"w1\"], \"sentence_embedding\": [[1, 1, 1, \"1\"]]}",
            "{\"sentences\": [\"w1\"], \"sentence_embedding\": []}",
        };
        for (String text : wrong) {
            server.golden = text;
            String says = "sent a golden.json that this client cannot read: ";
            assertFails(ServerErrorException.class, says, encoder::health);
        }
        server.golden = "{\"sentences\": [\"w1\"], \"sentence_embedding\": [[1, 1, 1, 1]]}";
        assertEquals(1, encoder.health().minCosine(), 1e-6);
        server.golden = "{\"sentences\": [\"w1\"], \"sentence_embedding\": [[1, 1, 1, -1]]}";
        assertFails(
                ServerErrorException.class,
                "^the canary failed at " + server.address() + ": .* is 0.500000, fp32 must reach 0.99$",
                encoder::health);
        assertTrue(server.received.get() >= 2);
    }
}
