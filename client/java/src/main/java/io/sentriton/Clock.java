package io.sentriton;

import java.math.BigDecimal;
import java.math.MathContext;
import java.time.Duration;

/** The process's steady clock, in seconds. */
final class Clock {
    private static final double NANOS = 1e9;

    private Clock() {}

    /** Seconds since an arbitrary moment. */
    static double now() {
        return System.nanoTime() / NANOS;
    }

    static double seconds(Duration duration) {
        return duration.getSeconds() + duration.getNano() / NANOS;
    }

    /** Nanoseconds, as far as a long goes. */
    static long nanos(double seconds) {
        return (long) (seconds * NANOS);
    }

    /** "1.5" for 1.5 and "2" for 2. */
    static String text(double seconds) {
        return new BigDecimal(seconds).round(new MathContext(6)).stripTrailingZeros().toPlainString();
    }
}
