package io.sentriton;

import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** The checked settings: from the builder, then the environment, then the defaults, which only this file has. */
final class Settings {
    private static final String DEFAULT_URL = "localhost:8001";
    private static final double DEFAULT_STALL_TIMEOUT_S = 60;
    private static final int DEFAULT_MAX_IN_FLIGHT = 16;
    private static final Pattern NUMBER = Pattern.compile("[-+]?[0-9]*\\.?[0-9]+(?:[eE][-+]?[0-9]+)?");
    private static final Pattern KEY = Pattern.compile("[!-~](?:[ -~]*[!-~])?");
    private static final List<String> YES = List.of("1", "true", "yes", "on");
    private static final List<String> NO = List.of("0", "false", "no", "off");

    final String url;
    final List<String> addresses;
    final double timeoutS; // infinite: no bound
    final double stallTimeoutS;
    final Priority priority;
    final int maxInFlight;
    final OnModelChange onModelChange;
    final boolean tls;
    final @Nullable Path rootCertificates;
    final @Nullable Path clientCertificate;
    final @Nullable Path clientKey;
    final @Nullable String serverName;
    final @Nullable String accessKey;

    private final Function<String, @Nullable String> environment;

    /** Throws {@code InvalidInputException}. {@code environment} gives the value of a variable, or null. */
    Settings(SentenceEncoderBuilder given, Function<String, @Nullable String> environment) {
        this.environment = environment;
        url = either(given.url, either(variable("URL"), DEFAULT_URL));
        addresses = Addresses.read(url);
        timeoutS = given.timeout != null
                ? Arguments.positive("timeout", given.timeout)
                : secondsVariable("TIMEOUT_S", Double.POSITIVE_INFINITY);
        stallTimeoutS = given.stallTimeout != null
                ? Arguments.positive("stallTimeout", given.stallTimeout)
                : secondsVariable("STALL_TIMEOUT_S", DEFAULT_STALL_TIMEOUT_S);
        priority = either(given.priority, choiceVariable("PRIORITY", Priority.values(), Priority.QUERY));
        int inFlight = either(given.maxInFlight, countVariable("MAX_IN_FLIGHT", DEFAULT_MAX_IN_FLIGHT));
        maxInFlight = Arguments.wholeNumber("maxInFlight", inFlight, Integer.MAX_VALUE);
        onModelChange = either(
                given.onModelChange, choiceVariable("ON_MODEL_CHANGE", OnModelChange.values(), OnModelChange.RAISE));
        rootCertificates = file(given.rootCertificates, "ROOT_CERTIFICATES");
        clientCertificate = file(given.clientCertificate, "CLIENT_CERTIFICATE");
        clientKey = file(given.clientKey, "CLIENT_KEY");
        if ((clientCertificate == null) != (clientKey == null)) {
            throw Errors.invalid("clientCertificate and clientKey must be set together; one of them is missing");
        }
        boolean asked = either(given.tls, switchVariable("TLS"));
        tls = asked || rootCertificates != null || clientCertificate != null;
        serverName = orNull(given.serverName, variable("SERVER_NAME"));
        accessKey = orNull(given.accessKey, variable("ACCESS_KEY"));
        if (accessKey != null && !KEY.matcher(accessKey).matches()) {
            // The message must not show the secret.
            throw Errors.invalid("accessKey cannot be sent; allowed are printable ASCII characters, without spaces or "
                    + "line ends around them");
        }
    }

    private @Nullable String variable(String name) {
        String value = environment.apply("SENTRITON_" + name);
        return value == null || value.isEmpty() ? null : value;
    }

    private @Nullable Path file(@Nullable Path given, String name) {
        String value = variable(name);
        Path path = given != null || value == null ? given : Path.of(value);
        // ~ at the beginning is the home folder.
        if (path == null || !path.startsWith("~")) {
            return path;
        }
        return Path.of(either(environment.apply("HOME"), System.getProperty("user.home")))
                .resolve(Path.of("~").relativize(path));
    }

    private double secondsVariable(String name, double missing) {
        String text = variable(name);
        if (text == null) {
            return missing;
        }
        double value = NUMBER.matcher(text).matches() ? Double.parseDouble(text) : Double.NaN;
        if (value > 0 && value < Double.POSITIVE_INFINITY) {
            return value;
        }
        throw wrong(name, text, "finite numbers above 0");
    }

    private int countVariable(String name, int missing) {
        String text = variable(name);
        if (text == null) {
            return missing;
        }
        try {
            return Integer.parseInt(text);
        } catch (NumberFormatException error) {
            throw wrong(name, text, "whole numbers from 1");
        }
    }

    private boolean switchVariable(String name) {
        String text = variable(name);
        if (text == null || NO.contains(text.toLowerCase(Locale.ROOT))) {
            return false;
        }
        if (YES.contains(text.toLowerCase(Locale.ROOT))) {
            return true;
        }
        throw wrong(name, text, "1, true, yes, on, 0, false, no, off");
    }

    private <T extends Enum<T>> T choiceVariable(String name, T[] values, T missing) {
        String text = variable(name);
        if (text == null) {
            return missing;
        }
        StringBuilder allowed = new StringBuilder();
        for (T value : values) {
            String word = value.name().toLowerCase(Locale.ROOT);
            if (word.equals(text)) {
                return value;
            }
            allowed.append(allowed.length() == 0 ? "" : ", ").append(word);
        }
        throw wrong(name, text, allowed.toString());
    }

    private static InvalidInputException wrong(String name, String text, String allowed) {
        return Errors.invalid("$SENTRITON_" + name + " is " + Arguments.shown(text) + "; allowed are " + allowed);
    }

    private static <T> T either(@Nullable T given, T other) {
        return given != null ? given : other;
    }

    private static <T> @Nullable T orNull(@Nullable T given, @Nullable T other) {
        return given != null ? given : other;
    }
}
