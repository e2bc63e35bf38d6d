package io.sentriton;

import java.util.ArrayDeque;
import java.util.Deque;
import org.jspecify.annotations.Nullable;

/**
 * Asks the servers in turn for the manifest. Each has little time at first, and a silent server has more in its next
 * turn. A server that failed in another way, or reported a timeout before its deadline, has no further turn.
 */
final class Inquiry {
    /** A server to ask, and its time in seconds. */
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

    /** The error of the inquiry. */
    SentritonException failure() {
        return failure;
    }

    /** The next turn; null if all servers failed or the deadline has passed. */
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

    /** Records the error of the last turn. */
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
