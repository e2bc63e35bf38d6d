package io.sentriton;

import com.google.protobuf.ByteString;
import io.sentriton.internal.inference.ModelInferRequest;
import io.sentriton.internal.inference.ModelInferResponse;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;

/** A health check: the golden sentences of the first server, embedded and compared with their golden vectors. */
final class Canary extends Task<HealthReport> {
    private static final double FLOAT32_NOISE = 1e-6; // of a cosine

    private final Connection connection;
    private final Deadline deadline;

    Canary(Session session, double timeoutS) {
        super(session);
        this.connection = session.endpoints.all.get(0).connection;
        this.deadline = new Deadline(timeoutS, timeoutS, Clock.now());
    }

    @Override
    void begin() {
        CompletableFuture<HealthReport> report = Assets.fetch(connection, Assets.MANIFEST, leftS(), Manifest::read)
                .thenCompose(manifest -> Assets.fetch(
                                connection, Assets.GOLDEN, leftS(), text -> Golden.read(text, manifest.dimension()))
                        .thenCompose(golden -> embed(manifest, golden)));
        report.whenComplete((value, error) -> {
            if (error == null) {
                complete(value);
            } else {
                fail(error.getCause() == null || error instanceof SentritonException ? error : error.getCause());
            }
        });
    }

    private CompletableFuture<HealthReport> embed(Manifest manifest, Golden golden) {
        ByteString content = Protocol.bytesTensor(golden.sentences.stream()
                .map(sentence -> sentence.getBytes(StandardCharsets.UTF_8))
                .collect(Collectors.toList()));
        double timeS = leftS();
        ModelInferRequest request = Protocol.textRequest(
                content, golden.sentences.size(), manifest.fingerprint(), Priority.QUERY, timeS);
        CompletableFuture<HealthReport> report = new CompletableFuture<>();
        connection.infer(request, timeS, (response, error) -> {
            try {
                if (response == null) {
                    report.completeExceptionally(error);
                } else {
                    report.complete(compare(manifest, golden, response));
                }
            } catch (SentritonException wrong) {
                report.completeExceptionally(wrong);
            }
        });
        return report;
    }

    private HealthReport compare(Manifest manifest, Golden golden, ModelInferResponse response) {
        int dimension = manifest.dimension();
        FloatBuffer answer = Protocol.readSentenceEmbedding(response, golden.embeddings.length, dimension);
        double minCosine = 1;
        float[] vector = new float[dimension];
        for (float[] expected : golden.embeddings) {
            answer.get(vector);
            minCosine = Math.min(minCosine, Similarity.cosine(vector, expected));
        }
        if (minCosine < manifest.minCosine() - FLOAT32_NOISE) {
            String found = String.format(Locale.ROOT, "%.6f", minCosine);
            throw new ServerErrorException(
                    "the canary failed at " + connection.address() + ": the smallest cosine to the golden vectors is "
                            + found + ", " + manifest.precision() + " must reach " + manifest.minCosine(),
                    null);
        }
        return new HealthReport(manifest, minCosine);
    }

    /** The time for the next request. Throws {@code DeadlineExceededException} if it is too little for one. */
    private double leftS() {
        double leftS = deadline.leftS(Clock.now());
        if (leftS == 0) {
            throw deadline.exceeded(connection.address());
        }
        return leftS;
    }
}
