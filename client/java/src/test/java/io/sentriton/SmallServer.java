package io.sentriton;

import com.google.protobuf.ByteString;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerInterceptors;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import io.sentriton.internal.inference.ModelInferRequest;
import io.sentriton.internal.inference.ModelInferResponse;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** A small gRPC server that speaks the protocol and computes nothing: it answers right, wrongly, late or not at all. */
final class SmallServer implements AutoCloseable {
    static final int DIMENSION = 4;
    static final List<String> WORDS =
            IntStream.range(0, 4000).mapToObj(each -> "w" + each).collect(Collectors.toList());
    static final String MANIFEST = "{'name': 'small', 'fingerprint': '" + "f".repeat(64) + "', 'dimension': 4, "
            + "'max_seq_length': 32, 'vocab_size': 4000, 'max_batch_size': 64, 'pooling': ['mean'], "
            + "'include_prompt': true, 'prompts': {}, 'default_prompt_name': null, 'similarity': 'cosine', "
            + "'precision': 'fp32', 'device': 'cpu', 'min_cosine': 0.99, "
            + "'parity': {'sentences': 3, 'min_cosine': 1}, "
            + "'files': {'tokenizer.json': '" + "a".repeat(64) + "'}, 'sentriton_version': '0.1.0'}";

    volatile String manifest = MANIFEST.replace('\'', '"');
    volatile String golden = "{}";
    volatile Consumer<ModelInferResponse.Builder> change = answer -> {};
    volatile Consumer<ModelInferResponse.Builder> changeAsset = answer -> {};
    /** The error of request number n (from 0), or null. */
    volatile IntFunction<@Nullable Status> refuse = number -> null;
    volatile double delayS;
    volatile boolean silent;
    final AtomicInteger received = new AtomicInteger(); // requests for embeddings
    final AtomicInteger assets = new AtomicInteger();
    final AtomicInteger answered = new AtomicInteger();
    final AtomicInteger cancelled = new AtomicInteger();
    final AtomicInteger underWay = new AtomicInteger();
    final AtomicInteger atOnce = new AtomicInteger();
    final List<ModelInferRequest> requests = new CopyOnWriteArrayList<>();
    final List<Metadata> headers = new CopyOnWriteArrayList<>();

    private final ThreadPoolExecutor threads =
            new ThreadPoolExecutor(0, Integer.MAX_VALUE, 10, TimeUnit.SECONDS, new SynchronousQueue<>(), task -> {
                Thread thread = new Thread(task, "small-server");
                thread.setDaemon(true);
                return thread;
            });
    private final Server server;
    final int port;
    private volatile boolean closed;

    SmallServer() {
        this(0, null);
    }

    SmallServer(int chosen, @Nullable SslContext security) {
        ServerServiceDefinition service = ServerServiceDefinition.builder("inference.GRPCInferenceService")
                .addMethod(Connection.MODEL_INFER, ServerCalls.asyncUnaryCall(this::infer))
                .build();
        NettyServerBuilder builder = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", chosen))
                .executor(threads)
                .addService(ServerInterceptors.intercept(service, new Headers()));
        try {
            server = (security == null ? builder : builder.sslContext(security)).build().start();
        } catch (IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
        port = server.getPort();
    }

    String address() {
        return "127.0.0.1:" + port;
    }

    /** The vector of a word: its number in every dimension. */
    static float[] vector(String word) {
        float[] vector = new float[DIMENSION];
        java.util.Arrays.fill(vector, Float.parseFloat(word.replaceAll("[^0-9]", "")));
        return vector;
    }

    static float[][] vectors(List<String> words) {
        return words.stream().map(SmallServer::vector).toArray(float[][]::new);
    }

    /** The texts of a request. */
    static List<String> texts(ModelInferRequest request) {
        ByteBuffer bytes =
                request.getRawInputContents(0).asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
        List<String> texts = new ArrayList<>();
        while (bytes.hasRemaining()) {
            byte[] text = new byte[bytes.getInt()];
            bytes.get(text);
            texts.add(new String(text, StandardCharsets.UTF_8));
        }
        return texts;
    }

    @Override
    public void close() {
        closed = true;
        server.shutdownNow();
        try {
            server.awaitTermination();
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        threads.setKeepAliveTime(1, TimeUnit.SECONDS); // gRPC gives them tasks until the last stream is gone
    }

    private void infer(ModelInferRequest request, StreamObserver<ModelInferResponse> observer) {
        ServerCallStreamObserver<ModelInferResponse> call = (ServerCallStreamObserver<ModelInferResponse>) observer;
        call.setOnCancelHandler(cancelled::incrementAndGet);
        call.setOnCloseHandler(answered::incrementAndGet);
        threads.execute(() -> {
            try {
                boolean asset = request.getModelName().equals("assets");
                call.onNext(asset ? asset(request, call) : embed(request, call));
                call.onCompleted();
            } catch (RuntimeException error) {
                call.onError(error);
            }
        });
    }

    private ModelInferResponse asset(ModelInferRequest request, ServerCallStreamObserver<?> call) {
        assets.incrementAndGet();
        pause(call, 0);
        String content = texts(request).get(0).equals("golden.json") ? golden : manifest;
        ByteString raw = Protocol.bytesTensor(List.of(content.getBytes(StandardCharsets.UTF_8)));
        ModelInferResponse.Builder answer = response("assets", "content", "BYTES", raw, 1);
        changeAsset.accept(answer);
        return answer.build();
    }

    private ModelInferResponse embed(ModelInferRequest request, ServerCallStreamObserver<?> call) {
        Status refusal;
        synchronized (this) {
            requests.add(request);
            refusal = refuse.apply(received.getAndIncrement());
        }
        atOnce.accumulateAndGet(underWay.incrementAndGet(), Math::max);
        try {
            pause(call, delayS);
            if (refusal != null) {
                throw refusal.asRuntimeException();
            }
            List<String> words = texts(request);
            ByteBuffer rows = ByteBuffer.allocate(words.size() * DIMENSION * 4).order(ByteOrder.LITTLE_ENDIAN);
            for (String word : words) {
                for (float value : vector(word)) {
                    rows.putFloat(value);
                }
            }
            ByteString raw = ByteString.copyFrom(rows.flip());
            ModelInferResponse.Builder answer =
                    response("embed_text", "sentence_embedding", "FP32", raw, words.size(), DIMENSION);
            change.accept(answer);
            return answer.build();
        } finally {
            underWay.decrementAndGet();
        }
    }

    private void pause(ServerCallStreamObserver<?> call, double seconds) {
        double end = Clock.now() + seconds;
        while ((Clock.now() < end || silent) && !call.isCancelled() && !closed) {
            Wait.s(0.005);
        }
    }

    static ModelInferResponse.Builder response(
            String model, String name, String datatype, ByteString raw, long... shape) {
        ModelInferResponse.InferOutputTensor.Builder output =
                ModelInferResponse.InferOutputTensor.newBuilder().setName(name).setDatatype(datatype);
        for (long size : shape) {
            output.addShape(size);
        }
        return ModelInferResponse.newBuilder().setModelName(model).addOutputs(output).addRawOutputContents(raw);
    }

    /** A change to the only output of an answer. */
    static Consumer<ModelInferResponse.Builder> output(Consumer<ModelInferResponse.InferOutputTensor.Builder> change) {
        return answer -> {
            ModelInferResponse.InferOutputTensor.Builder output = answer.getOutputs(0).toBuilder();
            change.accept(output);
            answer.setOutputs(0, output);
        };
    }

    private final class Headers implements ServerInterceptor {
        @Override
        public <Q, A> ServerCall.Listener<Q> interceptCall(
                ServerCall<Q, A> call, Metadata metadata, ServerCallHandler<Q, A> next) {
            headers.add(metadata);
            return next.startCall(call, metadata);
        }
    }
}
