package io.sentriton;

import org.jspecify.annotations.Nullable;

/** An argument or a request is wrong: the message names the given and the allowed value. */
public class InvalidInputException extends SentritonException {
    private static final long serialVersionUID = 1L;

    /**
     * Creates an exception.
     *
     * @param message the sentence for the reader
     * @param cause gRPC's own exception, or null
     */
    public InvalidInputException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
