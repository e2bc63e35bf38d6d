package io.sentriton;

/**
 * The end of a call: {@code timeoutS} after its start (infinite: no bound), or {@code stallTimeoutS} after its last
 * answer. Times are seconds of any steady clock.
 */
class Deadline {
    /** The interval of a call's looks at its deadline. */
    static final double LOOK_EVERY_S = 1;

    /** gRPC's timer and this clock differ by some milliseconds. A call this close to its end is over. */
    static final double MARGIN_S = 0.1;

    /** With less time, no request is sent: a cancellation at its answer can crash Triton 24.10 (issue 7368). */
    static final double LEAST_S = 0.002;

    private static final double A_DAY_S = 86_400; // since gRPC, Triton and timers use integers

    private final double end;
    private final double timeoutS;
    private final double stallTimeoutS;
    private double stalls;
    private double lastLook;

    Deadline(double timeoutS, double stallTimeoutS, double begin) {
        this.timeoutS = timeoutS;
        this.stallTimeoutS = stallTimeoutS;
        this.end = begin + timeoutS;
        this.stalls = begin + stallTimeoutS;
        this.lastLook = begin;
    }

    /** The latest end of the call. */
    double end() {
        return end;
    }

    /** The end of the call if no answer comes. */
    double time() {
        return Math.min(end, stalls);
    }

    /** The seconds for a request sent at {@code now}, or 0 if they are too few. */
    double leftS(double now) {
        double leftS = time() - now;
        return leftS < LEAST_S ? 0 : Math.min(leftS, A_DAY_S);
    }

    /** Restarts the stall timeout, at an answer or the first request. */
    void moved(double now) {
        stalls = now + stallTimeoutS;
        lastLook = now;
    }

    /** The call is running. Time in which it did not run (a suspended process) does not count as a stall. */
    void looked(double now) {
        stalls += Math.max(0, now - lastLook - LOOK_EVERY_S);
        lastLook = now;
    }

    /** Whether the call has timed out. */
    boolean over(double now) {
        return leftS(now) == 0;
    }

    /** The error of a call that timed out, with its bound and the remedy. */
    DeadlineExceededException exceeded(String url) {
        if (end <= stalls) {
            return new DeadlineExceededException(
                    "the call took longer than its timeout of " + Clock.text(timeoutS)
                            + " s; set a longer one, or none",
                    null);
        }
        return new DeadlineExceededException(
                url + " answered no request for " + Clock.text(stallTimeoutS)
                        + " s; check the server (`sentriton health`), or set a longer stallTimeout",
                null);
    }
}
