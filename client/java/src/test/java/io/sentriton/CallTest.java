package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;

/** The course of one call, against servers that are slow, silent or overloaded. */
class CallTest extends ServerTest {
    private static final List<String> WORDS = SmallServer.WORDS;

    private static EncodeOptions timeout(double seconds) {
        return EncodeOptions.builder().timeout(Duration.ofMillis((long) (1000 * seconds))).build();
    }

    /** A server that is silent from its request number {@code first} on. */
    private static void silentFrom(int first, SmallServer server) {
        server.refuse = number -> {
            server.silent |= number == first;
            return null;
        };
    }

    @Test
    void continuesAsLongAsAnswersCome() {
        SmallServer server = server();
        server.delayS = 0.1;
        SentenceEncoder encoder = opened(builder(server).stallTimeout(Duration.ofMillis(1500)).maxInFlight(2).build());
        double took = Wait.timed(() -> assertEmbedded(MANY, encoder.encode(MANY, batches(10))));
        assertTrue(took > 1.5, String.valueOf(took));
        server.requests.forEach(request -> {
            long timeoutUs = request.getParametersOrThrow("timeout").getInt64Param();
            assertTrue(timeoutUs > 0 && timeoutUs <= 1_500_000, String.valueOf(timeoutUs));
        });
    }

    @Test
    void withoutAnAnswerEndsWithItsProgress() {
        SmallServer server = server();
        server.delayS = 0.02;
        SentenceEncoder encoder = opened(builder(server).stallTimeout(Duration.ofMillis(1200)).build());
        silentFrom(20, server);
        double took = Wait.timed(() -> assertFails(
                DeadlineExceededException.class,
                "^" + server.address() + " answered no request for 1.2 s; check .* stallTimeout "
                        + "\\([1-9][\\d,]* of 4,000 sentences were embedded\\)$",
                () -> encoder.encode(WORDS, batches(4))));
        assertTrue(took >= 1.2 && took < Wait.SOON_S, String.valueOf(took));
        server.refuse = number -> null;
        server.silent = false;
        assertEmbedded(MANY, encoder.encode(MANY));
    }

    @Test
    void retriesALateRequestWhileOthersAreAnswered() {
        SmallServer server = server();
        server.refuse = number -> {
            server.delayS = number == 0 ? 30 : 0.15;
            return null;
        };
        SentenceEncoder encoder =
                opened(builder(server).stallTimeout(Duration.ofMillis(1000)).maxInFlight(2).build());
        List<String> sentences = WORDS.subList(0, 48);
        assertEmbedded(sentences, encoder.encode(sentences, batches(4)));
        int received = server.received.get();
        assertTrue(received > 12 && received < 2 * 12, String.valueOf(received));
    }

    @Test
    void endsWithItsOwnTimeWhateverIsAnswered() {
        SmallServer server = server();
        server.delayS = 0.02;
        SentenceEncoder encoder = open(server);
        encoder.info();
        // 4,000 requests, 16 at once, take 5 s at least.
        EncodeOptions options = EncodeOptions.builder().batchSize(1).timeout(Duration.ofSeconds(2)).build();
        assertFails(
                DeadlineExceededException.class,
                "timeout of 2 s; set a longer one, or none \\([1-9][\\d,]* of 4,000 sentences were embedded\\)$",
                () -> encoder.encode(WORDS, options));
    }

    @Test
    void hasNoEndWithTimesThatAreLongEnough() {
        Duration long1 = Duration.ofSeconds(Long.MAX_VALUE);
        SentenceEncoder encoder = opened(builder(server()).timeout(long1).stallTimeout(long1).build());
        assertEmbedded(MANY, encoder.encode(MANY));
        assertEmbedded(THREE, encoder.encode(THREE));
    }

    @Test
    void withoutTimeSendsNothing() {
        SmallServer server = server();
        SentenceEncoder encoder = open(server);
        encoder.info();
        Duration time = Duration.ofMillis(1);
        SentenceEncoder hasty = opened(builder(server).timeout(time).build());
        String says = "timeout of 0\\.001 s; set a longer one, or none";
        for (int call = 0; call < 20; call++) { // the network is sometimes slower than this
            assertFails(DeadlineExceededException.class, says, () -> encoder.health(time));
            assertFails(DeadlineExceededException.class, says, hasty::info);
            assertFails(DeadlineExceededException.class, says, () -> encoder.encode("w1", timeout(0.001)));
            SentenceEncoder fresh = open(server);
            assertFails(DeadlineExceededException.class, says, () -> fresh.encode("w1", timeout(0.001)));
            assertFails(DeadlineExceededException.class, says, () -> encoder.encode(MANY, timeout(0.001)));
        }
        assertEquals(1, server.assets.get());
        assertEquals(0, server.received.get());
    }

    @Test
    void isBoundedWhileTheManifestIsReadAndOthersContinue() throws Exception {
        SmallServer server = server();
        server.silent = true;
        SentenceEncoder stalling = opened(builder(server).stallTimeout(Duration.ofMillis(300)).build());
        assertFails(DeadlineExceededException.class, "answered no request for 0\\.3 s", stalling::info);
        SentenceEncoder encoder = open(server);
        CompletableFuture<float[][]> waiting = encoder.encodeAsync(THREE);
        String says = "timeout of 0\\.2 s";
        assertFails(DeadlineExceededException.class, says, () -> encoder.encode(THREE, timeout(0.2)));
        assertFails(DeadlineExceededException.class, says, () -> encoder.encodeQuery(MANY, timeout(0.2)));
        CompletableFuture<float[][]> cancelled = encoder.encodeAsync(THREE);
        assertTrue(cancelled.cancel(true));
        server.silent = false;
        assertEmbedded(THREE, waiting.get());
    }

    @Test
    void cancellingTheFutureCancelsTheRequests() {
        SmallServer server = server();
        SentenceEncoder encoder = open(server);
        encoder.info();
        server.silent = true;
        CompletableFuture<float[][]> many = encoder.encodeAsync(MANY);
        CompletableFuture<float[]> one = encoder.encodeAsync("w1");
        Wait.until(() -> server.underWay.get() >= 5, "the requests were not sent");
        many.cancel(false);
        one.cancel(false);
        assertThrows(CancellationException.class, many::join);
        Wait.until(() -> server.underWay.get() == 0, "the server still has requests");
    }

    @Test
    void aFutureThatIsCancelledAtOnceSendsNothing() throws Exception {
        SmallServer server = server();
        Session session = new Session(new Settings(builder(server), name -> null));
        opened((AutoCloseable) session::close);
        Waiting.await(() -> new ModelReading(session));
        CompletableFuture<Void> busy = new CompletableFuture<>();
        session.run(busy::join);
        CompletableFuture<HealthReport> call = Waiting.async(() -> new Canary(session, 10));
        assertTrue(call.cancel(true));
        busy.complete(null);
        CompletableFuture<Void> idle = new CompletableFuture<>();
        session.run(() -> idle.complete(null));
        idle.get();
        assertThrows(CancellationException.class, call::join);
        Wait.s(0.2); // for a request that should not come
        assertEquals(1, server.headers.size());
    }

    @Test
    void anInterruptedThreadCancelsItsCall() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = open(server);
        encoder.info();
        server.silent = true;
        CompletableFuture<Throwable> ended = new CompletableFuture<>();
        Thread caller = new Thread(() -> {
            try {
                encoder.encode(MANY);
            } catch (SentritonException error) {
                ended.complete(Thread.currentThread().isInterrupted() ? error : new AssertionError("flag is lost"));
            }
        });
        caller.start();
        Wait.until(() -> server.underWay.get() > 0, "the requests were not sent");
        caller.interrupt();
        assertTrue(ended.get().getMessage().startsWith("the thread was interrupted"), String.valueOf(ended.get()));
        Wait.until(() -> server.underWay.get() == 0, "the server still has requests");
    }

    @Test
    void codeAfterAFutureMayBlock() throws Exception {
        SentenceEncoder encoder = open(server());
        float[] second = encoder.encodeAsync("w1").thenApply(first -> encoder.encode("w2")).get();
        assertArrayEquals(SmallServer.vector("w2"), second);
    }

    @Test
    void wrongArgumentsFailTheFuture() {
        SentenceEncoder encoder = open(server());
        ExecutionException error = assertThrows(
                ExecutionException.class, () -> encoder.encodeAsync(List.of("\ud83d")).get());
        assertEquals(InvalidInputException.class, error.getCause().getClass());
    }

    @Test
    void vectorsInOneArray() {
        SentenceEncoder encoder = open(server());
        EncodeOptions options = EncodeOptions.builder().truncateDim(2).normalizeEmbeddings(true).build();
        Embeddings flat = encoder.encodeFlat(MANY, options);
        float[][] rows = encoder.encode(MANY, options);
        assertEquals(400, flat.rows());
        assertEquals(2, flat.dimension());
        assertEquals(800, flat.values().length);
        for (int row = 0; row < rows.length; row++) {
            assertArrayEquals(rows[row], flat.row(row));
        }
        assertEquals(Math.sqrt(0.5), rows[7][0], 1e-6);
        assertEquals(0, encoder.encode(List.of()).length);
        assertThrows(IndexOutOfBoundsException.class, () -> flat.row(400));
    }

    @Test
    void anEncoderThatIsClosedSaysSo() {
        SmallServer server = server();
        SentenceEncoder encoder = open(server);
        encoder.info();
        server.silent = true;
        List<CompletableFuture<?>> waiting = List.of(
                encoder.encodeAsync(MANY), encoder.encodeAsync("w1"), encoder.encodeAsync("w2"),
                encoder.encodeAsync("w3"), encoder.encodeAsync("w4"), encoder.encodeAsync("w5"));
        Wait.until(() -> server.underWay.get() >= 8, "the requests were not sent");
        double took = Wait.timed(encoder::close);
        assertTrue(took < Wait.SOON_S, String.valueOf(took));
        for (CompletableFuture<?> call : waiting) {
            assertTrue(call.isDone());
            ExecutionException error = assertThrows(ExecutionException.class, call::get);
            assertEquals("this encoder is closed; make a new one", error.getCause().getMessage());
        }
        assertFails(SentritonException.class, "^this encoder is closed", () -> encoder.encode("w1"));
        assertFails(SentritonException.class, "^this encoder is closed", encoder::info);
        encoder.close();
    }

    @Test
    void anEncoderThatIsClosedWhileItReadsTheManifestSaysSo() {
        SmallServer server = server();
        server.silent = true;
        SentenceEncoder encoder = open(server);
        CompletableFuture<float[][]> call = encoder.encodeAsync(THREE);
        Wait.until(() -> server.assets.get() == 1, "the manifest was not read");
        double took = Wait.timed(encoder::close);
        ExecutionException error = assertThrows(ExecutionException.class, call::get);
        assertEquals("this encoder is closed; make a new one", error.getCause().getMessage());
        assertTrue(took >= Connection.GRACE_MS / 1e3, String.valueOf(took));
        Wait.until(() -> server.cancelled.get() == 1, "the question was not cancelled");
    }

    @Test
    void anEncoderThatIsClosedLeavesRequestsThatEndBeforeTheyAreCancelled() {
        SmallServer server = server();
        SentenceEncoder encoder = open(server);
        server.silent = true;
        CompletableFuture<?> first = encoder.encodeAsync(THREE);
        Wait.until(() -> server.assets.get() == 1, "the manifest was not read");
        assertClosingLeaves(1, server, encoder, first);

        SentenceEncoder other = open(server);
        other.info();
        server.silent = true;
        CompletableFuture<?> large = other.encodeAsync(MANY.subList(0, 128));
        CompletableFuture<?> small = other.encodeAsync("w1");
        Wait.until(() -> server.underWay.get() == 3, "the requests were not sent");
        assertClosingLeaves(5, server, other, large, small);
    }

    /** The calls fail at once. The server answers 30 ms later. `requests` is its number of answers. */
    private static void assertClosingLeaves(
            int requests, SmallServer server, SentenceEncoder encoder, CompletableFuture<?>... calls) {
        Thread closing = new Thread(encoder::close);
        closing.start();
        for (CompletableFuture<?> call : calls) {
            ExecutionException error = assertThrows(ExecutionException.class, call::get);
            assertEquals("this encoder is closed; make a new one", error.getCause().getMessage());
        }
        Wait.s(0.03);
        server.silent = false;
        Wait.until(() -> !closing.isAlive(), "closing took too long");
        Wait.until(() -> server.answered.get() == requests, "the requests were not answered");
        assertEquals(0, server.cancelled.get());
    }
}
