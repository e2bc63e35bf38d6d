package io.sentriton;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.List;

/** golden.json: sentences with the vectors of sentence-transformers. */
final class Golden {
    final List<String> sentences;
    final float[][] embeddings;

    private Golden(List<String> sentences, float[][] embeddings) {
        this.sentences = sentences;
        this.embeddings = embeddings;
    }

    /**
     * Throws {@code IllegalArgumentException} for content other than sentences, at least one, each with a vector of
     * {@code dimension} finite numbers.
     */
    static Golden read(String text, int dimension) {
        JsonObject values = Json.object("the file", text);
        List<String> sentences = Json.list(values.get("sentences"), Json::isString);
        if (sentences == null || sentences.isEmpty()) {
            throw new IllegalArgumentException("it has no list of sentences");
        }
        JsonElement given = values.get("sentence_embedding");
        JsonArray rows = given != null && given.isJsonArray() ? given.getAsJsonArray() : new JsonArray();
        float[][] embeddings = new float[sentences.size()][];
        for (int row = 0; row < embeddings.length; row++) {
            float[] vector = rows.size() == embeddings.length ? Json.vector(rows.get(row), dimension) : null;
            if (vector == null) {
                throw new IllegalArgumentException("its sentence_embedding must be finite numbers of shape ["
                        + embeddings.length + ", " + dimension + "]");
            }
            embeddings[row] = vector;
        }
        return new Golden(sentences, embeddings);
    }
}
