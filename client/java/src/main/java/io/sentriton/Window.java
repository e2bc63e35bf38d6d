package io.sentriton;

import java.util.List;

/**
 * The limit of one call's requests in flight. It grows while this raises the rate, and halves when the server is
 * overloaded. It compares the rate (characters per second) of each round, as many answers as the limit, with the best
 * one. Times are seconds of any steady clock.
 */
final class Window {
    private static final int LEAST_IN_FLIGHT = 4; // one computed, one queued, and two in transfer

    private final int most;
    private int limit;
    private double bestRate;
    private long characters;
    private int answers;
    private double since = Double.NaN;

    Window(int most) {
        this(most, LEAST_IN_FLIGHT, 0);
    }

    /** The window of joined requests, fully open until an overload. A dns:/// address may stand for many servers. */
    static Window ofJoined(List<String> addresses, int maxInFlight) {
        boolean many = addresses.stream().anyMatch(address -> address.startsWith("dns://"));
        int limit = many ? maxInFlight : Math.min(LEAST_IN_FLIGHT * addresses.size(), maxInFlight);
        return new Window(limit, limit, 0);
    }

    private Window(int most, int limit, double bestRate) {
        this.most = most;
        this.limit = Math.min(limit, most);
        this.bestRate = bestRate;
    }

    /** The number of requests that may be in flight. */
    int limit() {
        return limit;
    }

    /** A window for the next call: it keeps the limit and the best rate, and begins a new round. */
    Window anew() {
        return new Window(most, limit, bestRate);
    }

    /** Counts an answer for sentences of this number of characters. */
    void answered(long answeredCharacters, double now) {
        if (Double.isNaN(since)) {
            since = now;
            return;
        }
        characters += answeredCharacters;
        answers += 1;
        if (answers < limit || now <= since) {
            return;
        }
        double rate = characters / (now - since);
        // After an overload it grows by one per round, at any rate.
        if (rate > 1.05 * bestRate || limit < LEAST_IN_FLIGHT) {
            limit = Math.min(limit + 1, most);
        }
        // The best rate fades, in case the server becomes slower.
        bestRate = Math.max(rate, 0.98 * bestRate);
        restart(now);
    }

    /** Halves the limit after a rejection. */
    void overloaded() {
        limit = Math.max(1, limit / 2);
        restart(Double.NaN);
    }

    private void restart(double now) {
        characters = 0;
        answers = 0;
        since = now;
    }
}
