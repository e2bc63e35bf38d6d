package io.sentriton;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The servers of one client, and which of them gets the next request. */
final class Endpoints {
    static final double LEAST_PATIENCE_S = 2;
    private static final double PATIENCE = 4; // times the slowest recent answer
    private static final double FADING = 0.95; // of the slowest answer, per further answer

    final List<Endpoint> all;
    private int turn;
    private double slowestS;

    Endpoints(List<Endpoint> all) {
        this.all = List.copyOf(all);
    }

    /** Their addresses, separated by commas. */
    String url() {
        return all.stream().map(endpoint -> endpoint.connection.address()).collect(Collectors.joining(","));
    }

    /** The time for an answer, before another server gets the request as well. */
    double patienceS() {
        return Math.max(LEAST_PATIENCE_S, PATIENCE * slowestS);
    }

    /** Records an answer by one of the servers. */
    void answered(Endpoint endpoint, double tookS, double now) {
        slowestS = Math.max(tookS, FADING * slowestS);
        endpoint.answered(now);
    }

    /** The least busy server that answers, in turn among equals; if none does, the one with the longest pause. */
    Endpoint choose(double now) {
        List<Endpoint> inTurn = inTurn();
        Endpoint awake = leastBusy(inTurn, endpoint -> endpoint.answers(now, patienceS()));
        return awake != null ? awake : Collections.min(inTurn, Comparator.comparingDouble(Endpoint::restingUntil));
    }

    /**
     * The least busy server that answers, other than {@code first}, or null. A server near the end of the patience does
     * not count, so slow servers do not get requests twice.
     */
    @Nullable Endpoint another(Endpoint first, double now) {
        return leastBusy(
                inTurn(),
                endpoint -> endpoint != first
                        && endpoint.answers(now, patienceS())
                        && endpoint.silentS(now) < patienceS() / 2);
    }

    private List<Endpoint> inTurn() {
        turn = (turn + 1) % all.size();
        List<Endpoint> inTurn = new ArrayList<>(all);
        Collections.rotate(inTurn, -turn);
        return inTurn;
    }

    private static @Nullable Endpoint leastBusy(List<Endpoint> endpoints, Predicate<Endpoint> usable) {
        return endpoints.stream().filter(usable).min(Comparator.comparingInt(Endpoint::inFlight)).orElse(null);
    }
}
