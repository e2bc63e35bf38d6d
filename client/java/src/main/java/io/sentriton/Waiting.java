package io.sentriton;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;

/** Submits tasks to the session's thread, and returns their results to the callers. */
final class Waiting {
    private Waiting() {}

    /** Waits for the result. The stack of an exception is that of the caller. */
    static <T> T await(Supplier<Task<T>> create) {
        Task<T> task = create.get();
        task.submit();
        try {
            return task.result.get();
        } catch (InterruptedException error) {
            task.cancel();
            Thread.currentThread().interrupt();
            throw new SentritonException("the thread was interrupted while it waited; its call is cancelled", error);
        } catch (ExecutionException error) {
            Throwable cause = error.getCause();
            if (cause instanceof SentritonException) {
                throw Errors.renew((SentritonException) cause, String.valueOf(cause.getMessage()));
            }
            throw Errors.fault(cause);
        }
    }

    /**
     * A future of the result. Code that depends on it runs in the common pool, never in the session's thread, so that
     * it may block.
     */
    static <T> CompletableFuture<T> async(Supplier<Task<T>> create) {
        CompletableFuture<T> future = new CompletableFuture<>();
        try {
            Task<T> task = create.get();
            task.submit();
            task.result.whenComplete((value, error) -> future.defaultExecutor().execute(() -> {
                if (error == null) {
                    future.complete(value);
                } else {
                    future.completeExceptionally(error);
                }
            }));
            future.whenComplete((value, error) -> {
                if (future.isCancelled()) {
                    task.cancel();
                }
            });
        } catch (SentritonException error) {
            future.completeExceptionally(error);
        }
        return future;
    }
}
