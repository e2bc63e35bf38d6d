package io.sentriton;

import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;

/** A task of the session's thread for a caller. */
abstract class Task<T> {
    final Session session;

    /** The outcome. The session's thread completes it. */
    final CompletableFuture<T> result = new CompletableFuture<>();

    private volatile boolean cancelled;

    Task(Session session) {
        this.session = session;
    }

    /** Starts the work. In the session's thread. */
    abstract void begin();

    /** Frees the resources of the ended work. In the session's thread. */
    void end() {}

    /** Submits the work to the session's thread; throws if the encoder is closed. */
    final void submit() {
        session.run(() -> {
            if (hasEnded()) {
                return;
            }
            if (session.isClosed()) {
                fail(Errors.closed(null));
                return;
            }
            session.begin(this);
            guarded(this::begin);
        });
    }

    /** Ends the work. From any thread. */
    final void cancel() {
        cancelled = true;
        try {
            session.run(() -> fail(new CancellationException("the call was cancelled")));
        } catch (SentritonException closed) {
            // Closing has already ended it.
        }
    }

    /** Whether the work has ended, or its caller has cancelled it and the session's thread ends it soon. */
    final boolean hasEnded() {
        return cancelled || result.isDone();
    }

    /** Ends the work with its result. In the session's thread. */
    final void complete(T value) {
        finish();
        result.complete(value);
    }

    /** Ends the work with this error, unless it has ended. In the session's thread. */
    final void fail(Throwable error) {
        if (!result.isDone()) {
            finish();
            result.completeExceptionally(session.isClosed() ? Errors.closed(error.getCause()) : error);
        }
    }

    /** Runs a part of the work, whose error ends the work. */
    final void guarded(Runnable part) {
        try {
            part.run();
        } catch (Throwable error) {
            fail(error);
        }
    }

    private void finish() {
        session.end(this);
        end();
    }
}
