package io.sentriton;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import org.jspecify.annotations.Nullable;

/**
 * Base class of all exceptions of Sentriton. A closed encoder throws the base class itself.
 *
 * <pre>
 * SentritonException
 * ├── InvalidInputException          the argument or the request is wrong; a retry cannot help
 * │   └── ContractMismatchException  the server serves another model than the one that the caller holds
 * ├── AccessDeniedException          key or certificate: the server refuses this client, or the client the server
 * ├── OverloadedException            the server's queue is full, or the request waited too long in it
 * ├── ServerUnavailableException     no server answers at the address, or it is not healthy
 * ├── DeadlineExceededException      the time allowed for the call is over
 * └── ServerErrorException           the server failed; its message is passed on
 * </pre>
 */
public class SentritonException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * Creates an exception.
     *
     * @param message the sentence for the reader
     * @param cause gRPC's own exception, or null
     */
    public SentritonException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }

    /**
     * The gRPC status of the failed request.
     *
     * @return the status with gRPC's own message, or null if the client itself found the error
     */
    public @Nullable Status getStatus() {
        Throwable cause = getCause();
        return cause instanceof StatusRuntimeException ? ((StatusRuntimeException) cause).getStatus() : null;
    }
}
