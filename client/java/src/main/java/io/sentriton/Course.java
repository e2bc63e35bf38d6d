package io.sentriton;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.Locale;
import java.util.PriorityQueue;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The course of one {@code encode} call determines the next request, the retries and the end. It uses no network and no
 * clock. It provides requests while the window is open, and takes their outcomes. Times are seconds of any steady
 * clock.
 */
final class Course {
    private static final double LOOK_AGAIN_S = 0.1; // for a server that could get the request as well

    private static final class Waiting {
        final Attempt attempt;
        final double due;

        Waiting(Attempt attempt, double due) {
            this.attempt = attempt;
            this.due = due;
        }
    }

    final Window window;

    private final Supplier<@Nullable RequestRows> plan;
    private final int total;
    private final Deadline deadline;
    private final RetryBudget budget;
    private final Endpoints endpoints;
    private final PriorityQueue<Waiting> waiting =
            new PriorityQueue<>(Comparator.comparingDouble((Waiting each) -> each.due));
    private final Set<Attempt> underWay = new LinkedHashSet<>(); // in the order of sending
    private @Nullable SentritonException lastFailure;
    private boolean planned;
    private int finished;

    /** {@code plan} gives the rows of the next request, then null. */
    Course(
            Supplier<@Nullable RequestRows> plan,
            int total,
            Deadline deadline,
            Window window,
            RetryBudget budget,
            Endpoints endpoints) {
        this.plan = plan;
        this.total = total;
        this.deadline = deadline;
        this.window = window;
        this.budget = budget;
        this.endpoints = endpoints;
    }

    /** The last error of the rows that wait for a retry; null if none wait. */
    @Nullable SentritonException lastFailure() {
        return waiting.isEmpty() ? null : lastFailure;
    }

    /** Whether no request is in flight. */
    boolean idle() {
        return underWay.isEmpty();
    }

    /** Whether a retry is due and no request is in flight. */
    boolean resumes(double now) {
        return underWay.isEmpty() && !waiting.isEmpty() && waiting.peek().due <= now;
    }

    /** Whether every sentence is embedded. */
    boolean done() {
        return finished == total;
    }

    /**
     * The request to send now; null if the window is full or no rows are left. At the deadline it throws the last error
     * of the rows that wait for a retry, or {@code DeadlineExceededException}.
     */
    Attempt.@Nullable Sending next(double now) {
        deadline.looked(now);
        if (deadline.over(now)) {
            SentritonException last = lastFailure();
            throw withProgress(last != null ? last : exceeded());
        }
        if (underWay.size() < window.limit()) {
            Waiting first = waiting.peek();
            if (first != null && first.due <= now) {
                return send(waiting.remove().attempt, endpoints.choose(now), now);
            }
            RequestRows rows = planned ? null : plan.get();
            planned = rows == null;
            if (rows != null) {
                return send(new Attempt(rows, 1), endpoints.choose(now), now);
            }
        }
        return hedge(now);
    }

    /** Whether the outcome of a request still matters: no other server has answered first. */
    boolean awaits(Attempt.Sending sending) {
        return sending.attempt.sendings.contains(sending);
    }

    /** Records its rows as embedded, and cancels another request for them. */
    void answered(Attempt.Sending sending, double now) {
        Attempt attempt = sending.attempt;
        for (Attempt.Sending other : attempt.sendings) {
            if (other != sending) {
                other.pending.cancel();
                if (other.endpoint.silentSince(other.sent, now, endpoints.patienceS())) {
                    other.endpoint.fellSilent(now);
                }
            }
        }
        attempt.sendings.clear();
        underWay.remove(attempt);
        finished += attempt.rows.indices.length;
        deadline.moved(now);
        window.answered(attempt.rows.characters, now);
        endpoints.answered(sending.endpoint, now - sending.sent, now);
        budget.answered();
    }

    /**
     * Schedules a retry of its rows, unless another server still has them.
     *
     * <p>Throws {@code error} with the progress of the call if a retry cannot help, no time is left or the retry budget
     * is empty.
     */
    void failed(Attempt.Sending sending, SentritonException error, double now) {
        Attempt attempt = sending.attempt;
        attempt.sendings.remove(sending);
        // It was sent with little time left, and later answers have moved the call's deadline.
        boolean tooLate = error instanceof DeadlineExceededException && now >= sending.until - Deadline.MARGIN_S;
        boolean away = error instanceof ServerUnavailableException;
        boolean overloaded = error instanceof OverloadedException;
        if (!tooLate && !away && !overloaded) {
            throw withProgress(error);
        }
        if (away) {
            sending.endpoint.rest(now);
        }
        if (tooLate && sending.endpoint.silentSince(sending.sent, now, endpoints.patienceS())) {
            sending.endpoint.fellSilent(now);
        }
        if (overloaded) {
            window.overloaded();
        }
        if (!attempt.sendings.isEmpty()) {
            attempt.awaitedSince = now;
            return;
        }
        underWay.remove(attempt);
        retryLater(attempt, error, tooLate, now);
    }

    private void retryLater(Attempt attempt, SentritonException error, boolean tooLate, double now) {
        deadline.looked(now);
        if (tooLate && deadline.over(now + Deadline.MARGIN_S)) {
            throw withProgress(exceeded());
        }
        double due = now + Backoff.delayS(attempt.number, ThreadLocalRandom.current()::nextDouble);
        double ends = underWay.isEmpty() ? deadline.time() : deadline.end();
        if (due >= ends || (!(error instanceof ServerUnavailableException) && !budget.take())) {
            throw withProgress(error);
        }
        lastFailure = error;
        waiting.add(new Waiting(new Attempt(attempt.rows, attempt.number + 1), due));
    }

    /** The time to wait for outcomes before another call of {@link #next}. */
    double waitS(double now) {
        double until = deadline.time();
        if (!waiting.isEmpty() && underWay.size() < window.limit()) {
            until = Math.min(until, waiting.peek().due);
        }
        if (endpoints.all.size() > 1) {
            for (Attempt attempt : underWay) {
                if (attempt.sendings.size() == 1) {
                    double late = attempt.awaitedSince + endpoints.patienceS();
                    until = Math.min(until, Math.max(late, now + LOOK_AGAIN_S));
                }
            }
        }
        return Math.max(0, until - now);
    }

    /** Cancels all requests that are in flight. */
    void cancel() {
        for (Attempt attempt : underWay) {
            for (Attempt.Sending sending : new ArrayList<>(attempt.sendings)) {
                sending.pending.cancel();
            }
            attempt.sendings.clear();
        }
        underWay.clear();
    }

    /** The error with the number of embedded sentences, if the call has several. */
    SentritonException withProgress(SentritonException error) {
        if (total <= 1) {
            return error;
        }
        String progress = String.format(Locale.ROOT, " (%,d of %,d sentences were embedded)", finished, total);
        return Errors.renew(error, error.getMessage() + progress);
    }

    private Attempt.Sending send(Attempt attempt, Endpoint endpoint, double now) {
        Attempt.Sending sending = new Attempt.Sending(attempt, endpoint, now, now + deadline.leftS(now));
        attempt.sendings.add(sending);
        attempt.awaitedSince = now;
        underWay.add(attempt);
        return sending;
    }

    /** A second request for the rows of a silent server, to a server that answers. */
    private Attempt.@Nullable Sending hedge(double now) {
        if (endpoints.all.size() == 1) {
            return null;
        }
        double late = now - endpoints.patienceS();
        for (Attempt attempt : underWay) {
            if (attempt.sendings.size() == 1 && attempt.awaitedSince <= late) {
                Endpoint other = endpoints.another(attempt.sendings.get(0).endpoint, now);
                if (other != null && budget.take()) {
                    return send(attempt, other, now);
                }
            }
        }
        return null;
    }

    private DeadlineExceededException exceeded() {
        return deadline.exceeded(endpoints.url());
    }
}
