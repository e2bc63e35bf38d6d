package io.sentriton;

import org.jspecify.annotations.Nullable;

/** The server requires another access key, or one of the two does not trust the other's certificate. */
public final class AccessDeniedException extends SentritonException {
    private static final long serialVersionUID = 1L;

    /**
     * Creates an exception.
     *
     * @param message the sentence for the reader
     * @param cause gRPC's own exception, or null
     */
    public AccessDeniedException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
