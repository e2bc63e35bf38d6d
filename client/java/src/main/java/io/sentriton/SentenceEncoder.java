package io.sentriton;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * Embeds sentences through a Sentriton server. Safe for concurrent callers, so an application needs only one. The
 * model's manifest comes from the server with the first call.
 *
 * <pre>{@code
 * try (SentenceEncoder encoder = SentenceEncoder.connect("localhost:8001")) {
 *     float[][] embeddings = encoder.encode(List.of("A first sentence.", "And a second one."));
 * }
 * }</pre>
 *
 * <p>All methods throw {@link SentritonException}s, and the futures fail with them. A thread that is interrupted while
 * it waits cancels its call.
 */
public final class SentenceEncoder implements AutoCloseable {
    private static final Duration HEALTH_TIMEOUT = Duration.ofSeconds(10);

    private final Session session;

    SentenceEncoder(Settings settings) {
        session = new Session(settings);
    }

    /**
     * An encoder for a server; all other settings come from the environment or are the defaults.
     * @param url host:port, several separated by commas, or dns:///host:port
     * @return a new encoder
     * @throws InvalidInputException if the address or a variable is wrong
     */
    public static SentenceEncoder connect(String url) {
        return builder().url(url).build();
    }

    /**
     * An encoder whose settings come from the environment ({@code SENTRITON_URL} and others) or are the defaults.
     * @return a new encoder
     * @throws InvalidInputException if a variable is wrong
     */
    public static SentenceEncoder fromEnvironment() {
        return builder().build();
    }

    /**
     * Starts the settings of an encoder.
     * @return a new builder
     */
    public static SentenceEncoderBuilder builder() {
        return new SentenceEncoderBuilder();
    }

    /**
     * The address or addresses of the server.
     * @return the setting {@code url}
     */
    public String url() {
        return session.settings.url;
    }

    /**
     * Embeds sentences.
     * @param sentences strings; an empty list gives no vectors
     * @return a vector for each sentence, in their order
     */
    public float[][] encode(List<String> sentences) {
        return Waiting.await(() -> many(sentences, EncodeOptions.DEFAULT, Prompts.NONE));
    }

    /**
     * Embeds sentences.
     * @param sentences strings; an empty list gives no vectors
     * @param options the options of this call
     * @return a vector for each sentence, in their order
     */
    public float[][] encode(List<String> sentences, EncodeOptions options) {
        return Waiting.await(() -> many(sentences, options, Prompts.NONE));
    }

    /**
     * Embeds a sentence.
     * @param sentence a string
     * @return its vector
     */
    public float[] encode(String sentence) {
        return Waiting.await(() -> one(sentence, EncodeOptions.DEFAULT, Prompts.NONE));
    }

    /**
     * Embeds a sentence.
     * @param sentence a string
     * @param options the options of this call
     * @return its vector
     */
    public float[] encode(String sentence, EncodeOptions options) {
        return Waiting.await(() -> one(sentence, options, Prompts.NONE));
    }

    /**
     * Embeds sentences and does not wait.
     * @param sentences strings; an empty list gives no vectors
     * @return a future of a vector for each sentence, in their order; cancelling it cancels the call
     */
    public CompletableFuture<float[][]> encodeAsync(List<String> sentences) {
        return Waiting.async(() -> many(sentences, EncodeOptions.DEFAULT, Prompts.NONE));
    }

    /**
     * Embeds sentences and does not wait.
     * @param sentences strings; an empty list gives no vectors
     * @param options the options of this call
     * @return a future of a vector for each sentence, in their order; cancelling it cancels the call
     */
    public CompletableFuture<float[][]> encodeAsync(List<String> sentences, EncodeOptions options) {
        return Waiting.async(() -> many(sentences, options, Prompts.NONE));
    }

    /**
     * Embeds a sentence and does not wait.
     * @param sentence a string
     * @return a future of its vector; cancelling it cancels the call
     */
    public CompletableFuture<float[]> encodeAsync(String sentence) {
        return Waiting.async(() -> one(sentence, EncodeOptions.DEFAULT, Prompts.NONE));
    }

    /**
     * Embeds a sentence and does not wait.
     * @param sentence a string
     * @param options the options of this call
     * @return a future of its vector; cancelling it cancels the call
     */
    public CompletableFuture<float[]> encodeAsync(String sentence, EncodeOptions options) {
        return Waiting.async(() -> one(sentence, options, Prompts.NONE));
    }

    /**
     * Embeds sentences with the prompt "query".
     * @param sentences strings; an empty list gives no vectors
     * @return a vector for each sentence, in their order
     */
    public float[][] encodeQuery(List<String> sentences) {
        return Waiting.await(() -> many(sentences, EncodeOptions.DEFAULT, Prompts.QUERY));
    }

    /**
     * Embeds sentences with the prompt "query".
     * @param sentences strings; an empty list gives no vectors
     * @param options the options of this call
     * @return a vector for each sentence, in their order
     */
    public float[][] encodeQuery(List<String> sentences, EncodeOptions options) {
        return Waiting.await(() -> many(sentences, options, Prompts.QUERY));
    }

    /**
     * Embeds a sentence with the prompt "query".
     * @param sentence a string
     * @return its vector
     */
    public float[] encodeQuery(String sentence) {
        return Waiting.await(() -> one(sentence, EncodeOptions.DEFAULT, Prompts.QUERY));
    }

    /**
     * Embeds a sentence with the prompt "query".
     * @param sentence a string
     * @param options the options of this call
     * @return its vector
     */
    public float[] encodeQuery(String sentence, EncodeOptions options) {
        return Waiting.await(() -> one(sentence, options, Prompts.QUERY));
    }

    /**
     * Embeds sentences with the prompt "query" and does not wait.
     * @param sentences strings; an empty list gives no vectors
     * @param options the options of this call
     * @return a future of a vector for each sentence, in their order; cancelling it cancels the call
     */
    public CompletableFuture<float[][]> encodeQueryAsync(List<String> sentences, EncodeOptions options) {
        return Waiting.async(() -> many(sentences, options, Prompts.QUERY));
    }

    /**
     * Embeds a sentence with the prompt "query" and does not wait.
     * @param sentence a string
     * @param options the options of this call
     * @return a future of its vector; cancelling it cancels the call
     */
    public CompletableFuture<float[]> encodeQueryAsync(String sentence, EncodeOptions options) {
        return Waiting.async(() -> one(sentence, options, Prompts.QUERY));
    }

    /**
     * Embeds sentences with the prompt "document", "passage" or "corpus".
     * @param sentences strings; an empty list gives no vectors
     * @return a vector for each sentence, in their order
     */
    public float[][] encodeDocument(List<String> sentences) {
        return Waiting.await(() -> many(sentences, EncodeOptions.DEFAULT, Prompts.DOCUMENT));
    }

    /**
     * Embeds sentences with the prompt "document", "passage" or "corpus".
     * @param sentences strings; an empty list gives no vectors
     * @param options the options of this call
     * @return a vector for each sentence, in their order
     */
    public float[][] encodeDocument(List<String> sentences, EncodeOptions options) {
        return Waiting.await(() -> many(sentences, options, Prompts.DOCUMENT));
    }

    /**
     * Embeds a sentence with the prompt "document", "passage" or "corpus".
     * @param sentence a string
     * @return its vector
     */
    public float[] encodeDocument(String sentence) {
        return Waiting.await(() -> one(sentence, EncodeOptions.DEFAULT, Prompts.DOCUMENT));
    }

    /**
     * Embeds a sentence with the prompt "document", "passage" or "corpus".
     * @param sentence a string
     * @param options the options of this call
     * @return its vector
     */
    public float[] encodeDocument(String sentence, EncodeOptions options) {
        return Waiting.await(() -> one(sentence, options, Prompts.DOCUMENT));
    }

    /**
     * Embeds sentences with the prompt "document", "passage" or "corpus" and does not wait.
     * @param sentences strings; an empty list gives no vectors
     * @param options the options of this call
     * @return a future of a vector for each sentence, in their order; cancelling it cancels the call
     */
    public CompletableFuture<float[][]> encodeDocumentAsync(List<String> sentences, EncodeOptions options) {
        return Waiting.async(() -> many(sentences, options, Prompts.DOCUMENT));
    }

    /**
     * Embeds a sentence with the prompt "document", "passage" or "corpus" and does not wait.
     * @param sentence a string
     * @param options the options of this call
     * @return a future of its vector; cancelling it cancels the call
     */
    public CompletableFuture<float[]> encodeDocumentAsync(String sentence, EncodeOptions options) {
        return Waiting.async(() -> one(sentence, options, Prompts.DOCUMENT));
    }

    /**
     * Embeds sentences into one array.
     * @param sentences strings
     * @param options the options of this call
     * @return all vectors, row by row, in the order of the sentences
     */
    public Embeddings encodeFlat(List<String> sentences, EncodeOptions options) {
        return Waiting.await(() -> call(sentences, options, Prompts.NONE, Results::flat));
    }

    /**
     * Scores every row of the first against every row of the second by the model's similarity function.
     * @param first n vectors of d numbers
     * @param second m vectors of d numbers
     * @return n rows of m scores; higher is more similar
     */
    public float[][] similarity(float[][] first, float[][] second) {
        return Similarity.scores(info().similarity(), first, second);
    }

    /**
     * The served model, from the first server that answers. The encoder reads it once.
     * @return its manifest
     */
    public Manifest info() {
        return Waiting.await(() -> new ModelReading(session));
    }

    /**
     * {@link #health(Duration)} within 10 seconds.
     * @return the served model and the smallest cosine
     */
    public HealthReport health() {
        return health(HEALTH_TIMEOUT);
    }

    /**
     * Embeds the golden sentences of the first server, and compares the vectors with those of sentence-transformers.
     * @param timeout the time for the whole check
     * @return the served model and the smallest cosine
     * @throws SentritonException if the server does not answer, or its vectors differ by more than the precision allows
     */
    public HealthReport health(Duration timeout) {
        return Waiting.await(() -> new Canary(session, Arguments.positive("timeout", timeout)));
    }

    /** Closes the connections. Calls in progress and later calls fail with "this encoder is closed". */
    @Override
    public void close() {
        session.close();
    }

    private Task<float[][]> many(List<String> sentences, EncodeOptions options, List<String> prompts) {
        return call(sentences, options, prompts, Results::rows);
    }

    private Task<float[]> one(String sentence, EncodeOptions options, List<String> prompts) {
        Deadline deadline = session.deadline(options);
        return new Call<>(session, deadline, Arguments.text(sentence), options, prompts, Results::single);
    }

    private <T> Task<T> call(
            List<String> sentences, EncodeOptions options, List<String> prompts, Results.Form<T> form) {
        Deadline deadline = session.deadline(options);
        return new Call<>(session, deadline, Arguments.texts(sentences), options, prompts, form);
    }
}
