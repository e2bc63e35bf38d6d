package io.sentriton;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import java.io.IOException;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/** Strict JSON, and checks of its values. */
final class Json {
    private Json() {}

    /** The object that {@code text} is; throws {@code IllegalArgumentException} for anything else. */
    static JsonObject object(String name, String text) {
        try {
            JsonReader reader = new JsonReader(new StringReader(text));
            reader.setStrictness(Strictness.STRICT);
            JsonElement value = JsonParser.parseReader(reader);
            if (reader.peek() != JsonToken.END_DOCUMENT) {
                throw new IllegalArgumentException(name + " has text after its end");
            }
            if (!value.isJsonObject()) {
                throw new IllegalArgumentException(name + " is not an object");
            }
            return value.getAsJsonObject();
        } catch (JsonParseException | IOException error) {
            throw new IllegalArgumentException(name + " is not JSON: " + error.getMessage(), error);
        }
    }

    static boolean isString(@Nullable JsonElement value) {
        return value != null && value.isJsonPrimitive() && value.getAsJsonPrimitive().isString();
    }

    /** A string that is not empty. */
    static boolean isText(@Nullable JsonElement value) {
        return value != null && isString(value) && !value.getAsString().isEmpty();
    }

    static boolean isFlag(@Nullable JsonElement value) {
        return value != null && value.isJsonPrimitive() && value.getAsJsonPrimitive().isBoolean();
    }

    /** A finite number. */
    static boolean isNumber(@Nullable JsonElement value) {
        return value != null
                && value.isJsonPrimitive()
                && value.getAsJsonPrimitive().isNumber()
                && Double.isFinite(value.getAsDouble());
    }

    /** The strings of a list; null for anything but a list whose elements all hold. */
    static @Nullable List<String> list(@Nullable JsonElement value, Predicate<JsonElement> holds) {
        if (value == null || !value.isJsonArray()) {
            return null;
        }
        List<String> texts = new ArrayList<>();
        for (JsonElement element : value.getAsJsonArray()) {
            if (!holds.test(element)) {
                return null;
            }
            texts.add(element.getAsString());
        }
        return List.copyOf(texts);
    }

    /** The numbers of a list of this size; null for anything else. */
    static float @Nullable [] vector(JsonElement value, int size) {
        if (!value.isJsonArray() || value.getAsJsonArray().size() != size) {
            return null;
        }
        JsonArray numbers = value.getAsJsonArray();
        float[] vector = new float[size];
        for (int place = 0; place < size; place++) {
            if (!isNumber(numbers.get(place))) {
                return null;
            }
            vector[place] = numbers.get(place).getAsFloat();
        }
        return vector;
    }
}
