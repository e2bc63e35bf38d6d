package io.sentriton;

import org.jspecify.annotations.Nullable;

/** The server rejected the request because it has too much work; the request was not computed. */
public final class OverloadedException extends SentritonException {
    private static final long serialVersionUID = 1L;

    /**
     * Creates an exception.
     *
     * @param message the sentence for the reader
     * @param cause gRPC's own exception, or null
     */
    public OverloadedException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
