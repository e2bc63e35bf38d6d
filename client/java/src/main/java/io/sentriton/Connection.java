package io.sentriton;

import io.grpc.CallCredentials;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.sentriton.internal.inference.ModelInferRequest;
import io.sentriton.internal.inference.ModelInferResponse;
import java.util.concurrent.Executor;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** A channel to one address, and its calls. Outcomes arrive in the encoder's thread. */
final class Connection {
    /** The outcome of a request: one of the two is null. */
    interface Outcome {
        void settle(@Nullable ModelInferResponse response, @Nullable SentritonException error);
    }

    /** A request that is in flight. */
    interface Pending {
        /** Ends the request, at the server too. */
        void cancel();
    }

    static final MethodDescriptor<ModelInferRequest, ModelInferResponse> MODEL_INFER =
            MethodDescriptor.<ModelInferRequest, ModelInferResponse>newBuilder()
                    .setType(MethodDescriptor.MethodType.UNARY)
                    .setFullMethodName("inference.GRPCInferenceService/ModelInfer")
                    .setRequestMarshaller(new Messages<>(ModelInferRequest.parser()))
                    .setResponseMarshaller(new Messages<>(ModelInferResponse.parser()))
                    .build();
    // Triton adds `triton-grpc-protocol-` to the name.
    private static final Metadata.Key<String> ACCESS_HEADER =
            Metadata.Key.of("triton-grpc-protocol-access-key", Metadata.ASCII_STRING_MARSHALLER);
    private static final long FIRST_RECONNECT_MS = 200;
    private static final long LONGEST_RECONNECT_MS = 2_000;
    private static final int CLOSING_S = 5;

    /**
     * The time in which requests may end by themselves when an encoder closes. A cancellation at an answer can crash
     * Triton 24.10 (issue 7368), and the manifest is usually answered in a few milliseconds.
     */
    static final long GRACE_MS = 100;

    private final String address;
    private final @Nullable String accessKey;
    private final ManagedChannel channel;
    private final ScheduledExecutorService thread;
    private long reconnectMs = FIRST_RECONNECT_MS;
    private volatile boolean closing;

    Connection(String address, Settings settings, ScheduledExecutorService thread) {
        this.address = address;
        this.accessKey = settings.accessKey;
        this.thread = thread;
        this.channel = Channels.open(address, settings, thread);
        thread.execute(this::watch);
    }

    String address() {
        return address;
    }

    /** Sends one request. {@code outcome} gets its response or its error. */
    Pending infer(ModelInferRequest request, double timeoutS, Outcome outcome) {
        CallOptions options = CallOptions.DEFAULT
                .withDeadlineAfter(Math.max(1, Clock.nanos(timeoutS)), TimeUnit.NANOSECONDS)
                .withCallCredentials(new LastLook(Clock.now() + timeoutS));
        ClientCall<ModelInferRequest, ModelInferResponse> call = channel.newCall(MODEL_INFER, options);
        Metadata headers = new Metadata();
        if (accessKey != null) {
            headers.put(ACCESS_HEADER, accessKey);
        }
        call.start(new Listener(outcome), headers);
        call.request(2); // gRPC reports a second message as an error
        call.sendMessage(request);
        call.halfClose();
        return () -> {
            if (!closing) {
                call.cancel("cancelled by this client", null);
            }
        };
    }

    /** Frees the connection when the requests in flight have ended. Cancels these after {@code GRACE_MS}. */
    void close() {
        closing = true;
        channel.shutdown();
        thread.schedule(channel::shutdownNow, GRACE_MS, TimeUnit.MILLISECONDS);
    }

    /** Cancels the requests in flight. */
    void closeNow() {
        channel.shutdownNow();
    }

    /** Waits until the connection is gone. */
    void awaitClosed() throws InterruptedException {
        channel.awaitTermination(CLOSING_S, TimeUnit.SECONDS);
    }

    /** Short pauses between attempts to connect. By default, gRPC's grow to two minutes. */
    private void watch() {
        ConnectivityState state = channel.getState(false);
        if (state == ConnectivityState.SHUTDOWN) {
            return;
        }
        channel.notifyWhenStateChanged(state, this::watch);
        if (state == ConnectivityState.READY) {
            reconnectMs = FIRST_RECONNECT_MS;
        }
        if (state == ConnectivityState.TRANSIENT_FAILURE) {
            reconnectLater();
        }
    }

    private void reconnectLater() {
        thread.schedule(this::reconnect, reconnectMs, TimeUnit.MILLISECONDS);
        reconnectMs = Math.min(LONGEST_RECONNECT_MS, 2 * reconnectMs);
    }

    private void reconnect() {
        if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
            channel.resetConnectBackoff();
            reconnectLater();
        }
    }

    /**
     * Ends a request that got its connection so late that too little time is left to send it, or that this encoder has
     * closed. gRPC asks for these headers once a request has a connection.
     */
    private final class LastLook extends CallCredentials {
        private final double until;

        LastLook(double until) {
            this.until = until;
        }

        @Override
        public void applyRequestMetadata(RequestInfo request, Executor executor, MetadataApplier applier) {
            if (closing) {
                applier.fail(Status.CANCELLED.withDescription("the encoder is closed"));
            } else if (until - Clock.now() < Deadline.LEAST_S) {
                applier.fail(Status.DEADLINE_EXCEEDED.withDescription("connecting took too long"));
            } else {
                applier.apply(new Metadata());
            }
        }
    }

    /** Waits for the end of a call. */
    private final class Listener extends ClientCall.Listener<ModelInferResponse> {
        private final Outcome outcome;
        private @Nullable ModelInferResponse response;

        Listener(Outcome outcome) {
            this.outcome = outcome;
        }

        @Override
        public void onMessage(ModelInferResponse message) {
            response = message;
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            if (!status.isOk()) {
                outcome.settle(null, Errors.translate(status, trailers, address));
            } else if (response == null) {
                outcome.settle(null, new ServerErrorException(address + " sent no answer; expected one", null));
            } else {
                outcome.settle(response, null);
            }
        }
    }
}
