package io.sentriton;

import java.util.ArrayList;
import java.util.List;

/** The {@code number}-th try to embed some rows, at one server, or at two if the first one is silent. */
final class Attempt {
    /** A request of an attempt to one server, with the deadline {@code until}. */
    static final class Sending {
        final Attempt attempt;
        final Endpoint endpoint;
        final double sent;
        final double until;
        Connection.Pending pending = () -> {};

        Sending(Attempt attempt, Endpoint endpoint, double sent, double until) {
            this.attempt = attempt;
            this.endpoint = endpoint;
            this.sent = sent;
            this.until = until;
        }
    }

    final RequestRows rows;
    final int number;
    final List<Sending> sendings = new ArrayList<>();
    double awaitedSince;

    Attempt(RequestRows rows, int number) {
        this.rows = rows;
        this.number = number;
    }
}
