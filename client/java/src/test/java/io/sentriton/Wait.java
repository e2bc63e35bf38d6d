package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/** Pauses of tests. */
final class Wait {
    /** A busy machine is far below it, and a client that waits for its default of 60 s is above. */
    static final double SOON_S = 30;

    private Wait() {}

    static void s(double seconds) {
        try {
            Thread.sleep((long) (1000 * seconds));
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    /** Waits until it holds. */
    static void until(BooleanSupplier holds, String otherwise) {
        until(holds, () -> otherwise);
    }

    /** Waits until the condition holds. A failure names the condition and the state at the end. */
    static void until(BooleanSupplier holds, Supplier<String> otherwise) {
        double end = Clock.now() + SOON_S;
        while (!holds.getAsBoolean()) {
            assertTrue(Clock.now() < end, otherwise);
            s(0.01);
        }
    }

    /** The seconds that it takes. */
    static double timed(Runnable body) {
        double begin = Clock.now();
        body.run();
        return Clock.now() - begin;
    }
}
