package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/** tests/polyglot/conformance.json, read. */
final class Conformance {
    static final Conformance FILE = new Conformance();

    final JsonObject content;
    final List<String> texts = new ArrayList<>();
    final List<float[]> vectors = new ArrayList<>();
    final double minCosine;

    private Conformance() {
        try {
            // Programs that do not run in client/java name the file.
            Path path = Path.of(System.getProperty("conformance", "../../tests/polyglot/conformance.json"));
            content = JsonParser.parseString(Files.readString(path)).getAsJsonObject();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        for (JsonElement sentence : content.getAsJsonArray("sentences")) {
            JsonObject fields = sentence.getAsJsonObject();
            texts.add(fields.get("text").getAsString().repeat(fields.get("times").getAsInt()));
            vectors.add(decode(fields.get("vector").getAsString()));
        }
        minCosine = content.get("min_cosine").getAsDouble();
    }

    /** Base64 of little-endian float32. */
    static float[] decode(String base64) {
        byte[] bytes = Base64.getDecoder().decode(base64);
        float[] values = new float[bytes.length / Float.BYTES];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values);
        return values;
    }

    /** Same direction and same length. */
    void assertVector(float[] expected, float[] found, String name) {
        assertEquals(expected.length, found.length);
        double cosine = Similarity.cosine(expected, found);
        assertTrue(cosine >= minCosine, name + ": cosine " + cosine);
    }

    static double length(float[] vector) {
        double squares = 0;
        for (float value : vector) {
            squares += (double) value * value;
        }
        return Math.sqrt(squares);
    }
}
