package io.sentriton;

import java.util.LinkedHashMap;
import java.util.Map;

/** One server: its connection and its recent answers. Times are seconds of any steady clock. */
final class Endpoint {
    private static final double REST_S = 1; // an unavailable server gets no requests for this long
    private static final double LONGEST_REST_S = 30; // for a silent server; a probe delays a request by the patience

    final Connection connection;

    private double restingUntil;
    private int silences; // in a row, since its last answer
    private double lastAnswer = Double.NEGATIVE_INFINITY;
    private final Map<Object, Double> underWay = new LinkedHashMap<>(); // requests by their sending, oldest first

    Endpoint(Connection connection) {
        this.connection = connection;
    }

    int inFlight() {
        return underWay.size();
    }

    double restingUntil() {
        return restingUntil;
    }

    /** Records a request that leaves for it. */
    void begin(Object request, double now) {
        underWay.put(request, now);
    }

    /** Records the end of a request, with an answer or an error. */
    void end(Object request) {
        underWay.remove(request);
    }

    /** Records its answer to a request. */
    void answered(double now) {
        lastAnswer = now;
        silences = 0;
        restingUntil = 0;
    }

    /** Pauses it after a failure, so that others are tried first. */
    void rest(double now) {
        restingUntil = Math.max(restingUntil, now + REST_S);
    }

    /** Pauses it because another server answered a later request first. Each pause in a row is longer. */
    void fellSilent(double now) {
        if (restingUntil > now) {
            return;
        }
        silences += 1;
        restingUntil = now + Math.min(LONGEST_REST_S, REST_S * Math.pow(2, silences - 1));
    }

    /** The time in which the requests in flight got no answer, or 0 without requests. */
    double silentS(double now) {
        for (double oldest : underWay.values()) {
            return now - Math.max(oldest, Math.min(lastAnswer, now));
        }
        return 0;
    }

    /** Whether it answered nothing for {@code patienceS}, with a request in flight since {@code sent}. */
    boolean silentSince(double sent, double now, double patienceS) {
        return now - Math.max(sent, lastAnswer) >= patienceS;
    }

    /** Whether it may get a request: it has no pause, is not silent, and has no probe in flight. */
    boolean answers(double now, double patienceS) {
        boolean probed = silences > 0 && inFlight() > 0;
        return restingUntil <= now && !probed && silentS(now) < patienceS;
    }
}
