package io.sentriton;

import org.jspecify.annotations.Nullable;

/** The server has another model than the one whose manifest this client has read. */
public final class ContractMismatchException extends InvalidInputException {
    private static final long serialVersionUID = 1L;

    /**
     * Creates an exception.
     *
     * @param message the sentence for the reader
     * @param cause gRPC's own exception, or null
     */
    public ContractMismatchException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
