package io.sentriton;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The fields of manifest.json. Each method checks type and range of one. The error of a wrong field names it. */
final class ManifestFields {
    private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");

    private final JsonObject values;

    /** Throws {@code IllegalArgumentException} if one of these fields is missing. */
    ManifestFields(JsonObject values, List<String> names) {
        this.values = values;
        String missing = names.stream().filter(name -> !values.has(name)).sorted().collect(Collectors.joining(", "));
        if (!missing.isEmpty()) {
            throw new IllegalArgumentException("the manifest lacks " + missing);
        }
    }

    /** The error of a wrong field. */
    IllegalArgumentException wrong(String name, String allowed) {
        String given = Arguments.shown(values.get(name));
        return new IllegalArgumentException("the manifest's " + name + " is " + given + "; expected " + allowed);
    }

    String text(String name) {
        return checked(name, Json::isText, "a text").getAsString();
    }

    @Nullable String stringOrNull(String name) {
        JsonElement value = checked(name, each -> each.isJsonNull() || Json.isString(each), "a string or null");
        return value.isJsonNull() ? null : value.getAsString();
    }

    boolean flag(String name) {
        return checked(name, Json::isFlag, "true or false").getAsBoolean();
    }

    int whole(String name, int most) {
        Predicate<JsonElement> holds = value -> {
            double number = Json.isNumber(value) ? value.getAsDouble() : 0;
            return number == Math.rint(number) && number >= 1 && number <= most;
        };
        return (int) checked(name, holds, "a whole number from 1 to " + most).getAsDouble();
    }

    double cosine(String name) {
        Predicate<JsonElement> holds = value -> Json.isNumber(value) && Math.abs(value.getAsDouble()) <= 1;
        return checked(name, holds, "a number from -1 to 1").getAsDouble();
    }

    List<String> texts(String name) {
        List<String> texts = Json.list(values.get(name), Json::isText);
        if (texts == null) {
            throw wrong(name, "a list of strings");
        }
        return texts;
    }

    Map<String, String> strings(String name) {
        return byName(name, Json::isString, JsonElement::getAsString, "an object of strings");
    }

    Map<String, Double> numbers(String name, String... required) {
        String allowed = "an object of numbers with " + String.join(" and ", required);
        return byName(name, Json::isNumber, JsonElement::getAsDouble, allowed, required);
    }

    /** sha256 sums, hexadecimal. */
    Map<String, String> sums(String name, String... required) {
        Predicate<JsonElement> holds = value -> Json.isString(value) && SHA256.matcher(value.getAsString()).matches();
        String allowed = "an object of sha256 sums with that of " + String.join(" and ", required);
        return byName(name, holds, JsonElement::getAsString, allowed, required);
    }

    Manifest.SimilarityFunction similarity(String name) {
        StringBuilder allowed = new StringBuilder("one of");
        for (Manifest.SimilarityFunction function : Manifest.SimilarityFunction.values()) {
            String word = function.name().toLowerCase(Locale.ROOT);
            if (Json.isString(values.get(name)) && values.get(name).getAsString().equals(word)) {
                return function;
            }
            allowed.append(allowed.length() == 6 ? " " : ", ").append(word);
        }
        throw wrong(name, allowed.toString());
    }

    private JsonElement checked(String name, Predicate<JsonElement> holds, String allowed) {
        JsonElement value = values.get(name);
        if (!holds.test(value)) {
            throw wrong(name, allowed);
        }
        return value;
    }

    private <T> Map<String, T> byName(
            String name,
            Predicate<JsonElement> holds,
            Function<JsonElement, T> read,
            String allowed,
            String... required) {
        JsonElement value = values.get(name);
        if (!value.isJsonObject() || !value.getAsJsonObject().keySet().containsAll(List.of(required))) {
            throw wrong(name, allowed);
        }
        Map<String, T> entries = new LinkedHashMap<>();
        for (Map.Entry<String, JsonElement> entry : value.getAsJsonObject().entrySet()) {
            if (!holds.test(entry.getValue())) {
                throw wrong(name, allowed);
            }
            entries.put(entry.getKey(), read.apply(entry.getValue()));
        }
        return Collections.unmodifiableMap(entries);
    }
}
