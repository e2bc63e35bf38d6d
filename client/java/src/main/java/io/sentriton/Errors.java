package io.sentriton;

import io.grpc.Metadata;
import io.grpc.Status;
import java.io.IOException;
import java.net.ConnectException;
import java.security.cert.CertificateException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;

/** The exception for a gRPC status and the server's message: one table. */
enum Errors {
    INVALID_INPUT(InvalidInputException::new),
    CONTRACT_MISMATCH(ContractMismatchException::new),
    ACCESS_DENIED(AccessDeniedException::new),
    OVERLOADED(OverloadedException::new),
    SERVER_UNAVAILABLE(ServerUnavailableException::new),
    DEADLINE_EXCEEDED(DeadlineExceededException::new),
    SERVER_ERROR(ServerErrorException::new),
    /** The base class, which a closed encoder throws. */
    SENTRITON(SentritonException::new);

    // Triton's words, for status codes that say less.
    private static final List<String> OVERLOAD =
            List.of("lane is full", "exceeds maximum queue size", "request timeout expired");
    private static final String RESTRICTED = "this protocol is restricted";
    // A full /dev/shm: the request was not computed, and answers in flight will free space.
    private static final String NO_ROOM = "failed to increase the shared memory pool size";
    // A message above a limit: words of the gRPC libraries, of Envoy, and for a proxy's HTTP status.
    private static final List<String> TOO_LARGE = List.of(
            "message larger than max",
            "decompression larger than max",
            "a size larger than",
            "message exceeds maximum size",
            "message length too large",
            "maximum configured message size",
            "payload too large",
            "status: 413",
            "status code 413",
            "server: 413");
    // The last one is gRPC's for Java.
    private static final List<String> SICK =
            List.of("is not healthy", "rst_stream", "stream removed", "received rst stream");
    // The whole message of a call that a stopping Triton aborts. Calls that this client ends have other messages.
    private static final String BROKEN_OFF = "CANCELLED";
    // Netty's prefix of the system's message.
    private static final Pattern SYSTEM_CALL = Pattern.compile("^\\w+\\(\\.\\.\\) failed(?: with error\\(-\\d+\\))?: ");
    private static final String MISMATCH = "fingerprint mismatch";
    // The server's words for the text of a request.
    private static final Pattern IN_ROW = Pattern.compile("text in row (\\d{1,9}) ");

    private interface Factory {
        SentritonException create(String message, @Nullable Throwable cause);
    }

    private final Factory factory;

    Errors(Factory factory) {
        this.factory = factory;
    }

    SentritonException create(String message, @Nullable Throwable cause) {
        return factory.create(message, cause);
    }

    /** The same exception with another message, and the stack of this thread. */
    static SentritonException renew(SentritonException error, String message) {
        for (Errors kind : values()) {
            SentritonException renewed = kind.create(message, error.getCause());
            if (renewed.getClass() == error.getClass()) {
                return renewed;
            }
        }
        throw error;
    }

    /**
     * The error of a request for the sentences at {@code indices}. The message names the sentence, and not the row.
     */
    static SentritonException namingSentence(SentritonException error, int[] indices) {
        Matcher found = IN_ROW.matcher(String.valueOf(error.getMessage()));
        if (!(error instanceof InvalidInputException) || !found.find()) {
            return error;
        }
        int row = Integer.parseInt(found.group(1));
        int place = row < indices.length ? indices[row] : row;
        return renew(error, found.replaceFirst("sentences[" + place + "] "));
    }

    static InvalidInputException invalid(String message) {
        return new InvalidInputException(message, null);
    }

    /** An exception other than {@code SentritonException} is a fault of the client. */
    static SentritonException fault(@Nullable Throwable error) {
        return new SentritonException("the call ended with a fault of this client; report it: " + error, error);
    }

    static SentritonException closed(@Nullable Throwable cause) {
        return new SentritonException("this encoder is closed; make a new one", cause);
    }

    /** The kind of error for a status and the server's message. */
    static Errors kind(Status.Code code, String message) {
        String text = message.toLowerCase(Locale.ROOT);
        switch (code) {
            case INVALID_ARGUMENT:
                return text.contains(MISMATCH) ? CONTRACT_MISMATCH : INVALID_INPUT;
            case DEADLINE_EXCEEDED:
                return DEADLINE_EXCEEDED;
            case NOT_FOUND:
                return SERVER_UNAVAILABLE;
            case PERMISSION_DENIED:
            case UNAUTHENTICATED:
                return ACCESS_DENIED;
            case RESOURCE_EXHAUSTED:
                return isTooLarge(text) ? INVALID_INPUT : OVERLOADED;
            case UNAVAILABLE:
                if (OVERLOAD.stream().anyMatch(text::contains)) {
                    return OVERLOADED;
                }
                return text.contains(RESTRICTED) ? ACCESS_DENIED : SERVER_UNAVAILABLE;
            default:
                if (isTooLarge(text)) {
                    return INVALID_INPUT;
                }
                if (text.contains(NO_ROOM)) {
                    return OVERLOADED;
                }
                boolean brokenOff = code == Status.Code.CANCELLED && message.equals(BROKEN_OFF);
                return brokenOff || SICK.stream().anyMatch(text::contains) ? SERVER_UNAVAILABLE : SERVER_ERROR;
        }
    }

    private static boolean isTooLarge(String text) {
        return TOO_LARGE.stream().anyMatch(text::contains);
    }

    /** The exception for a failed request to {@code address}. */
    static SentritonException translate(Status status, @Nullable Metadata trailers, String address) {
        String message = status.getDescription() == null ? "" : status.getDescription();
        Errors kind = kind(status.getCode(), message);
        // gRPC reports UNKNOWN if a connection closes before a request is written. Only transport errors have a cause.
        if (kind == SERVER_ERROR && status.getCause() instanceof IOException) {
            kind = SERVER_UNAVAILABLE;
        }
        if (kind == SERVER_UNAVAILABLE && isUntrusted(status.getCause())) {
            kind = ACCESS_DENIED;
        }
        Throwable cause = status.asRuntimeException(trailers);
        String reason = message.isEmpty() ? status.getCode().name() : message;
        switch (kind) {
            case SERVER_UNAVAILABLE:
                return kind.create("no answer from " + address + ": " + transportReason(status, reason), cause);
            case ACCESS_DENIED:
                String hint = message.contains("access-key")
                        ? "; give the server's accessKey (or $SENTRITON_ACCESS_KEY)"
                        : "";
                return kind.create("no access to " + address + ": " + transportReason(status, reason) + hint, cause);
            case INVALID_INPUT:
                String large = "a message to or from " + address + " is too large: " + reason + "; lower batchSize or "
                        + "shorten the sentences, or raise this limit of the server or proxy";
                return kind.create(status.getCode() == Status.Code.INVALID_ARGUMENT ? reason : large, cause);
            case DEADLINE_EXCEEDED:
                return kind.create(address + " did not answer in time: " + reason, cause);
            default:
                return kind.create(reason, cause);
        }
    }

    /** gRPC's message is "io exception" and a list of handlers. The chain of causes has the reason. */
    private static String transportReason(Status status, String message) {
        List<String> reasons = new ArrayList<>();
        String first = message.split("\n", 2)[0];
        if (status.getCause() == null || !first.equals("io exception")) {
            reasons.add(first);
        }
        boolean refused = false;
        for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
            String given = String.valueOf(cause.getMessage());
            String text = SYSTEM_CALL.matcher(given).replaceFirst("");
            boolean repeats = cause.getCause() != null && given.equals(String.valueOf(cause.getCause()));
            if (!repeats && reasons.stream().noneMatch(reason -> reason.contains(text))) {
                reasons.add(text);
            }
            refused |= cause instanceof ConnectException;
        }
        String text = String.join(": ", reasons);
        return refused ? text + "; is it running? `sentriton serve` on that machine starts it" : text;
    }

    /** Whether one side rejected the other's certificate. */
    private static boolean isUntrusted(@Nullable Throwable failure) {
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            boolean named = cause instanceof SSLException
                    && String.valueOf(cause.getMessage()).toLowerCase(Locale.ROOT).contains("certificate");
            if (cause instanceof CertificateException || named) {
                return true;
            }
        }
        return false;
    }
}
