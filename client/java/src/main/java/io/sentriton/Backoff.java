package io.sentriton;

import java.util.function.DoubleSupplier;

/** Pauses between attempts: exponential, with jitter. */
final class Backoff {
    private static final double FIRST_S = 0.1;
    private static final double MOST_S = 3;

    private Backoff() {}

    /** Seconds before attempt number {@code attempt} + 1, counted from 1; {@code random} gives numbers from 0 to 1. */
    static double delayS(int attempt, DoubleSupplier random) {
        double ceiling = Math.min(MOST_S, FIRST_S * Math.pow(2, Math.min(attempt - 1, 16)));
        return (0.2 + 0.8 * random.getAsDouble()) * ceiling;
    }
}
