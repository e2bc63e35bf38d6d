package io.sentriton;

import java.util.ArrayDeque;
import java.util.Deque;
import org.jspecify.annotations.Nullable;

/**
 * Which server to ask for its manifest next, and how long to wait. Each of several gets little time at first, and a
 * silent one more in its next turn. A server has no second turn if it failed in another way, or reported before its
 * deadline that it was late.
 */
final class Inquiry {
    /** A server to ask, and the seconds that it has to answer. */
    static final class Turn {
        final Endpoint endpoint;
        final double timeS;

        Turn(Endpoint endpoint, double timeS) {
            this.endpoint = endpoint;
            this.timeS = timeS;
        }
    }

    private final Endpoints endpoints;
    private final Deadline deadline;
    private final Deque<Turn> turns = new ArrayDeque<>(); // with the patience of each
    private double until = Double.NaN; // of the last turn
    private SentritonException failure;

    Inquiry(Endpoints endpoints, Deadline deadline) {
        this.endpoints = endpoints;
        this.deadline = deadline;
        this.failure = deadline.exceeded(endpoints.url());
        endpoints.all.forEach(endpoint -> turns.add(new Turn(endpoint, Endpoints.LEAST_PATIENCE_S)));
    }

    /** Why the inquiry ended. */
    SentritonException failure() {
        return failure;
    }

    /** The next turn; null if all servers failed or the time is over. */
    @Nullable Turn turn(double now) {
        Turn next = turns.peek();
        if (next == null) {
            return null;
        }
        double leftS = deadline.leftS(now);
        if (leftS == 0 || (!Double.isNaN(until) && deadline.over(now + Deadline.MARGIN_S))) {
            failure = deadline.exceeded(endpoints.url());
            return null;
        }
        double timeS = turns.size() == 1 ? leftS : Math.min(next.timeS, leftS);
        until = now + timeS;
        return new Turn(next.endpoint, timeS);
    }

    /** The last turn ended with this error. */
    void failed(SentritonException error, double now) {
        Turn turn = turns.remove();
        failure = error;
        if (error instanceof ServerUnavailableException) {
            turn.endpoint.rest(now);
        }
        if (error instanceof DeadlineExceededException && now >= until - Deadline.MARGIN_S) {
            turn.endpoint.fellSilent(now);
            turns.add(new Turn(turn.endpoint, 2 * turn.timeS));
        }
    }
}
