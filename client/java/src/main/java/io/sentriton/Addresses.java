package io.sentriton;

import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** The addresses in a url: host:port, several separated by commas, or dns:///host:port. */
final class Addresses {
    private static final Pattern ADDRESS =
            Pattern.compile("(?:dns://[^\\s/]*/)?(?:[^\\s:/\\[\\]]+|\\[[0-9a-fA-F:.]+]):(\\d{1,5})");
    private static final int LAST_PORT = 65_535;

    private Addresses() {}

    static List<String> read(String url) {
        List<String> addresses = Arrays.stream(url.split(",", -1))
                .map(String::strip)
                .collect(Collectors.toList());
        if (!addresses.stream().allMatch(Addresses::isAddress)) {
            throw Errors.invalid("url is " + Arguments.shown(url)
                    + "; give host:port, several separated by commas, or dns:///host:port");
        }
        return addresses;
    }

    private static boolean isAddress(String address) {
        Matcher match = ADDRESS.matcher(address);
        if (!match.matches()) {
            return false;
        }
        int port = Integer.parseInt(match.group(1));
        return port >= 1 && port <= LAST_PORT;
    }
}
