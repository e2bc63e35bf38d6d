package io.sentriton;

import java.util.LinkedHashMap;
import java.util.Map;

/** One server: its connection and its recent behaviour. Times are seconds of any steady clock. */
final class Endpoint {
    private static final double REST_S = 1; // a server that was away gets no requests for this long
    private static final double LONGEST_REST_S = 30; // of a silent one: each probe delays a request by the patience

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

    /** A request leaves for it. */
    void begin(Object request, double now) {
        underWay.put(request, now);
    }

    /** A request ended, with an answer or an error. */
    void end(Object request) {
        underWay.remove(request);
    }

    /** It answered a request. */
    void answered(double now) {
        lastAnswer = now;
        silences = 0;
        restingUntil = 0;
    }

    /** It did not answer: the others are tried first for a moment. */
    void rest(double now) {
        restingUntil = Math.max(restingUntil, now + REST_S);
    }

    /** Another server answered a later request sooner: it rests, longer each time in a row. */
    void fellSilent(double now) {
        if (restingUntil > now) {
            return;
        }
        silences += 1;
        restingUntil = now + Math.min(LONGEST_REST_S, REST_S * Math.pow(2, silences - 1));
    }

    /** How long requests have been in flight without an answer to any; 0 if none is. */
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

    /** Whether it may get a request: it does not rest, is not silent, and is not being probed after a silence. */
    boolean answers(double now, double patienceS) {
        boolean probed = silences > 0 && inFlight() > 0;
        return restingUntil <= now && !probed && silentS(now) < patienceS;
    }
}
