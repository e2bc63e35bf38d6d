package io.sentriton;

import java.time.Duration;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Checks arguments. {@code InvalidInputException} names argument, value and allowed values. */
final class Arguments {
    private Arguments() {}

    /** The sentences, copied. */
    static String[] texts(@Nullable List<String> sentences) {
        if (sentences == null) {
            throw Errors.invalid("sentences is null; give a list of strings");
        }
        Object[] given = sentences.toArray();
        String[] texts = new String[given.length];
        for (int place = 0; place < given.length; place++) {
            // A raw list, or one of another language on the JVM, may have anything in it.
            if (!(given[place] instanceof String)) {
                String type = given[place] == null ? "" : " (" + given[place].getClass().getSimpleName() + ")";
                throw Errors.invalid("sentences[" + place + "] is " + shown(given[place]) + type
                        + "; every sentence must be a string");
            }
            texts[place] = unicode("sentences[" + place + "]", (String) given[place]);
        }
        return texts;
    }

    /** A single sentence. */
    static String[] text(@Nullable String sentence) {
        if (sentence == null) {
            throw Errors.invalid("sentence is null; give a string");
        }
        return new String[] {unicode("sentence", sentence)};
    }

    /** Rejects a text with a lone surrogate, half of a UTF-16 pair, which has no UTF-8. */
    static String unicode(String name, String text) {
        int place = 0; // in whole characters
        for (int unit = 0; unit < text.length(); place++) {
            int character = text.codePointAt(unit);
            if (character >= Character.MIN_SURROGATE && character <= Character.MAX_SURROGATE) {
                throw Errors.invalid(name + " has a lone surrogate at character " + place + ", which has no UTF-8; "
                        + "give whole characters (a string cut in the middle of an emoji leaves such halves)");
            }
            unit += Character.charCount(character);
        }
        return text;
    }

    /** A whole number from 1 to {@code most}. */
    static int wholeNumber(String name, int value, int most) {
        if (value >= 1 && value <= most) {
            return value;
        }
        String allowed = most == Integer.MAX_VALUE ? "whole numbers from 1" : "1 to " + most;
        throw Errors.invalid(name + " is " + value + "; allowed are " + allowed);
    }

    /** A duration above 0, in seconds. */
    static double positive(String name, Duration value) {
        Objects.requireNonNull(value, name);
        double seconds = Clock.seconds(value);
        if (seconds > 0) {
            return seconds;
        }
        throw Errors.invalid(name + " is " + Clock.text(seconds) + " s; allowed are durations above 0");
    }

    /** A value for a message: texts in quotes, and no more than 200 characters. */
    static String shown(@Nullable Object value) {
        String text = value instanceof String ? '"' + (String) value + '"' : String.valueOf(value);
        return text.length() <= 200 ? text : text.substring(0, 200);
    }
}
