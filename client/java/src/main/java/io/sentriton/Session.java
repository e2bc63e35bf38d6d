package io.sentriton;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * The state that all calls of an encoder share: settings, servers, the model, pacing. Only the session's thread changes
 * it. This thread runs no code of the application.
 */
final class Session {
    private static final int CLOSING_S = 5;

    final Settings settings;
    final Endpoints endpoints;
    final RetryBudget budget = new RetryBudget();
    final Joiner joiner;
    Window window; // of the next call with separate requests

    private final ScheduledThreadPoolExecutor thread;
    private volatile boolean closed;
    private final Set<Task<?>> tasks = new LinkedHashSet<>(); // in flight
    private @Nullable CompletableFuture<Manifest> reading;

    Session(Settings settings) {
        this.settings = settings;
        window = new Window(settings.maxInFlight);
        thread = new ScheduledThreadPoolExecutor(1, task -> {
            Thread created = new Thread(task, "sentriton-client");
            created.setDaemon(true);
            return created;
        });
        thread.setRemoveOnCancelPolicy(true);
        // After closing, only ended calls set timers.
        thread.setRejectedExecutionHandler(new ThreadPoolExecutor.DiscardPolicy());
        thread.setExecuteExistingDelayedTasksAfterShutdownPolicy(false);
        List<Endpoint> opened = new ArrayList<>();
        try {
            for (String address : settings.addresses) {
                opened.add(new Endpoint(new Connection(address, settings, thread)));
            }
        } catch (RuntimeException error) {
            opened.forEach(endpoint -> endpoint.connection.close());
            thread.shutdown();
            throw error;
        }
        endpoints = new Endpoints(opened);
        joiner = new Joiner(this);
    }

    /** The deadline of a call that starts now. */
    Deadline deadline(EncodeOptions options) {
        double timeoutS =
                options.timeout == null ? settings.timeoutS : Arguments.positive("timeout", options.timeout);
        return new Deadline(timeoutS, settings.stallTimeoutS, Clock.now());
    }

    boolean isClosed() {
        return closed;
    }

    /** Runs a task in the session's thread; throws if the encoder is closed. */
    void run(Runnable task) {
        synchronized (thread) {
            if (!closed) {
                thread.execute(task);
                return;
            }
        }
        throw Errors.closed(null);
    }

    /** Runs a task after those that the session's thread already has. */
    void soon(Runnable task) {
        thread.execute(task);
    }

    /** Runs a task in the session's thread, later. */
    ScheduledFuture<?> later(Runnable task, double delayS) {
        return thread.schedule(task, Clock.nanos(delayS), TimeUnit.NANOSECONDS);
    }

    /** Records a call in progress. In the session's thread. */
    void begin(Task<?> task) {
        tasks.add(task);
    }

    /** Records the end of a call. In the session's thread. */
    void end(Task<?> task) {
        tasks.remove(task);
    }

    /** The manifest, from the first server that answers; a failure is not cached. In the session's thread. */
    CompletableFuture<Manifest> info() {
        CompletableFuture<Manifest> current = reading;
        if (current == null) {
            CompletableFuture<Manifest> started = new CompletableFuture<>();
            current = started;
            reading = started;
            ask(new Inquiry(endpoints, deadline(EncodeOptions.DEFAULT)), started);
        }
        return current;
    }

    /** Whether the manifest is known or being read. In the session's thread. */
    boolean isReading() {
        return reading != null;
    }

    /** Forgets a replaced model, so that the next call reads the manifest again. In the session's thread. */
    void forget(CompletableFuture<Manifest> model) {
        if (reading == model) {
            reading = null;
        }
    }

    private void ask(Inquiry inquiry, CompletableFuture<Manifest> answer) {
        Inquiry.Turn turn = closed ? null : inquiry.turn(Clock.now());
        if (turn == null) {
            forget(answer);
            answer.completeExceptionally(closed ? Errors.closed(inquiry.failure()) : inquiry.failure());
            return;
        }
        Assets.fetch(turn.endpoint.connection, Assets.MANIFEST, turn.timeS, Manifest::read)
                .whenComplete((manifest, error) -> {
                    if (error == null) {
                        answer.complete(manifest);
                    } else if (error instanceof SentritonException) {
                        inquiry.failed((SentritonException) error, Clock.now());
                        ask(inquiry, answer);
                    } else {
                        forget(answer);
                        answer.completeExceptionally(error);
                    }
                });
    }

    /** Fails all calls and frees the connections and the thread. */
    void close() {
        synchronized (thread) {
            if (closed) {
                return;
            }
            closed = true;
            thread.execute(() -> {
                // First the connections, so that tasks that end now cancel no request.
                endpoints.all.forEach(endpoint -> endpoint.connection.close());
                List.copyOf(tasks).forEach(task -> task.fail(Errors.closed(null)));
            });
        }
        boolean interrupted = false;
        for (Endpoint endpoint : endpoints.all) {
            try {
                endpoint.connection.awaitClosed();
            } catch (InterruptedException error) {
                interrupted = true;
            }
        }
        if (interrupted) {
            // The shutdown of the thread drops the delayed cancellation.
            endpoints.all.forEach(endpoint -> endpoint.connection.closeNow());
        }
        thread.shutdown();
        try {
            thread.awaitTermination(CLOSING_S, TimeUnit.SECONDS);
        } catch (InterruptedException error) {
            interrupted = true;
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
