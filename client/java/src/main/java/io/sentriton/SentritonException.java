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
 * │   └── ContractMismatchException  the server has another model than the one that the encoder has read
 * ├── AccessDeniedException          key or certificate: one side does not trust the other
 * ├── OverloadedException            the server's queue is full, or the request waited too long
 * ├── ServerUnavailableException     no server answers at the address, or it is not healthy
 * ├── DeadlineExceededException      the call timed out
 * └── ServerErrorException           the server failed, or its answer is wrong
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
