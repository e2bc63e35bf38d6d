package io.sentriton;

/**
 * The end of a call: {@code timeoutS} after its begin (infinite: no bound), or {@code stallTimeoutS} after its last
 * answer. Times are seconds of any steady clock.
 */
class Deadline {
    /** A call looks at its deadline at least this often. */
    static final double LOOK_EVERY_S = 1;

    /** gRPC's timer and this clock differ by some milliseconds: so close to the end, the call is over. */
    static final double MARGIN_S = 0.1;

    /** With less time, no request is sent: one that is cancelled as it arrives can crash Triton 24.10 (issue 7368). */
    private static final double LEAST_S = 0.002;

    private static final double A_DAY_S = 86_400; // gRPC, Triton and timers count in integers, which have an end

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

    /** The time at which the call ends in any case. */
    double end() {
        return end;
    }

    /** When the call ends if nothing is answered until then. */
    double time() {
        return Math.min(end, stalls);
    }

    /** The seconds that a request sent at {@code now} may take; 0 if that is too little for a request. */
    double leftS(double now) {
        double leftS = time() - now;
        return leftS < LEAST_S ? 0 : Math.min(leftS, A_DAY_S);
    }

    /** A request of the call was answered, or the first is to be sent: the server has its whole time again. */
    void moved(double now) {
        stalls = now + stallTimeoutS;
        lastLook = now;
    }

    /** The call is awake. Where it was not for long (a suspended process), this was no silence of the server. */
    void looked(double now) {
        stalls += Math.max(0, now - lastLook - LOOK_EVERY_S);
        lastLook = now;
    }

    /** Whether the call has to end. */
    boolean over(double now) {
        return leftS(now) == 0;
    }

    /** The error of a call that has to end: the bound that it met, and the remedy. */
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
