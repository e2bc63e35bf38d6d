package io.sentriton;

import org.jspecify.annotations.Nullable;

/** The server failed, or its answer is wrong. */
public final class ServerErrorException extends SentritonException {
    private static final long serialVersionUID = 1L;

    /**
     * Creates an exception.
     *
     * @param message the sentence for the reader
     * @param cause gRPC's own exception, or null
     */
    public ServerErrorException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
