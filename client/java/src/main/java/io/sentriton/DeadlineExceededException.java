package io.sentriton;

import org.jspecify.annotations.Nullable;

/** The call timed out. */
public final class DeadlineExceededException extends SentritonException {
    private static final long serialVersionUID = 1L;

    /**
     * Creates an exception.
     *
     * @param message the sentence for the reader
     * @param cause gRPC's own exception, or null
     */
    public DeadlineExceededException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
