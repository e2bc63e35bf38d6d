package io.sentriton;

import org.jspecify.annotations.Nullable;

/** The server cannot be reached or does not serve. */
public final class ServerUnavailableException extends SentritonException {
    private static final long serialVersionUID = 1L;

    /**
     * Creates an exception.
     *
     * @param message the sentence for the reader
     * @param cause gRPC's own exception, or null
     */
    public ServerUnavailableException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
