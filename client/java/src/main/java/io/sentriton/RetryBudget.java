package io.sentriton;

/**
 * Bounds the retries at an overloaded server to a share of its answers, so that callers do not double its load. A retry
 * takes a token of 100; an answer returns a fifth. Retries at an unavailable server are not bounded.
 */
final class RetryBudget {
    private static final double CAPACITY = 100;
    private static final double PER_ANSWER = 0.2;

    private double tokens = CAPACITY;

    void answered() {
        tokens = Math.min(CAPACITY, tokens + PER_ANSWER);
    }

    /** Takes a token for a retry; false if the budget is empty. */
    boolean take() {
        if (tokens < 1) {
            return false;
        }
        tokens -= 1;
        return true;
    }
}
