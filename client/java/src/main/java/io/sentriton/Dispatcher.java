package io.sentriton;

import io.sentriton.internal.inference.ModelInferRequest;
import io.sentriton.internal.inference.ModelInferResponse;
import java.util.Objects;
import java.util.concurrent.ScheduledFuture;
import org.jspecify.annotations.Nullable;

/**
 * Sends the requests of a course, and gives it their outcomes. All methods run in the session's thread.
 */
final class Dispatcher {
    /** The call, or the calls, whose requests these are. */
    interface Owner {
        /** The message to send. The server has {@code timeS} for it. */
        ModelInferRequest request(Attempt.Sending sending, double timeS);

        /** Takes an answer. Throws {@code ServerErrorException} for a wrong one. */
        void collect(Attempt.Sending sending, ModelInferResponse response);

        /** The error of a request, in whose message a sentence has its place in the call. */
        default SentritonException named(Attempt.Sending sending, SentritonException error) {
            return error;
        }

        /** No request is in flight before a retry. */
        default void pauses() {}

        /** Whether the due retry may leave now. If not, the owner calls {@link #step} later. */
        default boolean mayResume() {
            return true;
        }

        /** All rows are embedded. */
        void finished();

        /** The course ended early. */
        void failed(Throwable error);
    }

    private final Session session;
    private final Course course;
    private final Owner owner;
    private boolean stopped;
    private @Nullable ScheduledFuture<?> timer;

    Dispatcher(Session session, Course course, Owner owner) {
        this.session = session;
        this.course = course;
        this.owner = owner;
    }

    /** Sends all requests that may be sent now. */
    void step() {
        if (!stopped) {
            guarded(this::sendAll);
        }
    }

    /** Cancels the requests in flight, and sends no more. */
    void stop() {
        if (!stopped) {
            stopped = true;
            course.cancel();
            if (timer != null) {
                timer.cancel(false);
            }
        }
    }

    private void sendAll() {
        if (course.done()) {
            stop();
            owner.finished();
            return;
        }
        double now = Clock.now();
        if (course.resumes(now) && !owner.mayResume()) {
            return;
        }
        for (Attempt.Sending sending = course.next(now); sending != null; sending = course.next(now)) {
            send(sending);
            now = Clock.now();
        }
        if (timer != null) {
            timer.cancel(false);
        }
        timer = session.later(this::step, Math.min(Deadline.LOOK_EVERY_S, course.waitS(now)));
    }

    private void send(Attempt.Sending sending) {
        double timeS = sending.until - sending.sent;
        ModelInferRequest request = owner.request(sending, timeS);
        sending.endpoint.begin(sending, sending.sent);
        sending.pending = sending.endpoint.connection.infer(request, timeS, (response, error) -> {
            sending.endpoint.end(sending);
            if (!stopped && course.awaits(sending)) {
                guarded(() -> settle(sending, response, error));
            }
        });
    }

    private void settle(
            Attempt.Sending sending, @Nullable ModelInferResponse response, @Nullable SentritonException error) {
        if (response == null) {
            course.failed(sending, owner.named(sending, Objects.requireNonNull(error)), Clock.now());
            if (course.idle()) {
                owner.pauses();
            }
        } else {
            collect(sending, response);
            course.answered(sending, Clock.now());
        }
        sendAll();
    }

    private void collect(Attempt.Sending sending, ModelInferResponse response) {
        try {
            owner.collect(sending, response);
        } catch (ServerErrorException error) {
            throw course.withProgress(wrongAnswer(sending.endpoint.connection.address(), error));
        }
    }

    /** The error for a wrong answer. */
    static ServerErrorException wrongAnswer(String address, ServerErrorException error) {
        return new ServerErrorException("wrong answer from " + address + ": " + error.getMessage(), error.getCause());
    }

    private void guarded(Runnable part) {
        try {
            part.run();
        } catch (Throwable error) {
            stop();
            owner.failed(error);
        }
    }
}
