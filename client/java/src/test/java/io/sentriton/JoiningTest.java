package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.grpc.Status;
import io.sentriton.internal.inference.ModelInferRequest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Small calls that wait at the same time share a request. */
class JoiningTest extends ServerTest {
    private static EncodeOptions timeout(double seconds) {
        return EncodeOptions.builder().timeout(Duration.ofMillis((long) (1000 * seconds))).build();
    }

    /** Single calls at the same time, of w0, w1 and so on. */
    private static List<CompletableFuture<float[]>> calls(SentenceEncoder encoder, int from, int to) {
        List<CompletableFuture<float[]>> calls = new ArrayList<>();
        for (int word = from; word < to; word++) {
            calls.add(encoder.encodeAsync("w" + word));
        }
        return calls;
    }

    private static void assertAnswered(List<CompletableFuture<float[]>> calls, int from) throws Exception {
        for (int call = 0; call < calls.size(); call++) {
            assertEquals(from + call, calls.get(call).get()[0]);
        }
    }

    private static List<Integer> sizes(SmallServer server) {
        return server.requests.stream().map(each -> SmallServer.texts(each).size()).collect(Collectors.toList());
    }

    /** An encoder whose four joined requests are in flight at a silent server. */
    private SentenceEncoder busy(SmallServer server) {
        SentenceEncoder encoder = open(server);
        encoder.info();
        server.silent = true;
        return encoder;
    }

    private static void awaitFour(SmallServer server) {
        Wait.until(() -> server.underWay.get() == 4, "four requests were expected");
    }

    @Test
    void fourLeaveAtOnceAndTheOthersTogether() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> calls = calls(encoder, 0, 64);
        awaitFour(server);
        server.silent = false;
        assertAnswered(calls, 0);
        assertEquals(List.of(1, 1, 1, 1, 60), sizes(server));
    }

    @Test
    void callsOfUpToEightSentencesJoinWithTheirOwnPromptsAndShapes() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> first = calls(encoder, 0, 4);
        awaitFour(server);
        List<String> eight = SmallServer.WORDS.subList(0, 8);
        CompletableFuture<float[][]> rows = encoder.encodeAsync(eight);
        CompletableFuture<float[]> prompted =
                encoder.encodeAsync("5", EncodeOptions.builder().prompt("w1").truncateDim(3).build());
        CompletableFuture<float[]> apart = encoder.encodeAsync("w7", batches(8));
        CompletableFuture<float[]> alone = encoder.encodeAsync("w6", batches(1));
        CompletableFuture<float[][]> nine = encoder.encodeAsync(SmallServer.WORDS.subList(0, 9));
        Wait.until(() -> server.underWay.get() == 6, "a call that does not join does not wait for joined requests");
        server.silent = false;
        assertAnswered(first, 0);
        assertEmbedded(eight, rows.get());
        assertEquals(15, prompted.get()[2]);
        assertEquals(3, prompted.get().length);
        assertEquals(7, apart.get()[0]);
        assertEquals(6, alone.get()[0]);
        assertEquals(9, nine.get().length);
        List<Integer> sizes = sizes(server);
        assertTrue(sizes.subList(4, 6).containsAll(List.of(9, 1)), sizes.toString());
        assertTrue(sizes.subList(6, 8).containsAll(List.of(9, 1)), sizes.toString());
    }

    @Test
    void aRequestHasNoMoreRowsAndTokensThanAllowed() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> calls = calls(encoder, 0, 4);
        awaitFour(server);
        List<String> six = SmallServer.WORDS.subList(0, 6);
        List<CompletableFuture<float[][]>> waiting = new ArrayList<>();
        for (int call = 0; call < 12; call++) {
            waiting.add(encoder.encodeAsync(six));
        }
        server.silent = false;
        assertAnswered(calls, 0);
        for (CompletableFuture<float[][]> call : waiting) {
            assertEmbedded(six, call.get());
        }
        assertEquals(List.of(1, 1, 1, 1, 12, 60), sizes(server).stream().sorted().collect(Collectors.toList()));
    }

    @Test
    void theServerHasTheLongestTimeOfCallsThatAreAtMostTwiceApart() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> calls = calls(encoder, 0, 4);
        awaitFour(server);
        List<CompletableFuture<float[]>> waiting = new ArrayList<>();
        for (double seconds : new double[] {20, 12, 30, 9}) {
            waiting.add(encoder.encodeAsync("w1", timeout(seconds)));
        }
        server.silent = false;
        assertAnswered(calls, 0);
        for (CompletableFuture<float[]> call : waiting) {
            call.get();
        }
        List<Integer> times = server.requests.subList(4, server.requests.size()).stream()
                .map(each -> Math.round(each.getParametersOrThrow("timeout").getInt64Param() / 1e6f))
                .sorted()
                .collect(Collectors.toList());
        assertEquals(3, times.size(), times.toString());
        assertTrue(times.get(1) > 12 && times.get(1) <= 20, times.toString()); // that of the call with 20 s
        assertTrue(times.get(2) > 20 && times.get(2) <= 30, times.toString());
        assertEquals(4, sizes(server).subList(4, 7).stream().mapToInt(Integer::intValue).sum());
    }

    @Test
    void aCallLeavesWithItsOwnErrorAndTheOthersDoNotNotice() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        calls(encoder, 0, 4).forEach(call -> call.whenComplete((value, error) -> {}));
        awaitFour(server);
        CompletableFuture<float[]> cancelled = encoder.encodeAsync("w9", timeout(0.9));
        CompletableFuture<float[]> late = encoder.encodeAsync("w8", timeout(0.6));
        CompletableFuture<float[]> patient = encoder.encodeAsync("w7");
        cancelled.cancel(true);
        ExecutionException error = assertThrows(ExecutionException.class, late::get);
        assertEquals(
                "the call took longer than its timeout of 0.6 s; set a longer one, or none",
                error.getCause().getMessage());
        server.silent = false;
        assertEquals(7, patient.get()[0]);
        assertEquals(List.of(1, 1, 1, 1, 1), sizes(server));
    }

    @Test
    void theLastCallThatLeavesCancelsTheRequest() {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> calls = calls(encoder, 0, 4);
        awaitFour(server);
        calls.forEach(call -> call.cancel(true));
        Wait.until(() -> server.underWay.get() == 0, "the server still has requests");
        server.silent = false;
        assertEquals(5, encoder.encode("w5")[0]);
    }

    @Test
    void aWrongNumberConcernsTheCallOfItsRow() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> first = calls(encoder, 0, 4);
        awaitFour(server);
        List<CompletableFuture<float[]>> calls = calls(encoder, 4, 7);
        server.change = answer -> {
            byte[] raw = answer.getRawOutputContents(0).toByteArray();
            if (raw.length == 3 * 16) {
                java.nio.ByteBuffer.wrap(raw).order(java.nio.ByteOrder.LITTLE_ENDIAN).putFloat(20, Float.NaN);
                answer.setRawOutputContents(0, ByteString.copyFrom(raw));
            }
        };
        server.silent = false;
        assertAnswered(first, 0);
        assertEquals(4, calls.get(0).get()[0]);
        assertEquals(6, calls.get(2).get()[0]);
        ExecutionException error = assertThrows(ExecutionException.class, () -> calls.get(1).get());
        assertEquals(ServerErrorException.class, error.getCause().getClass());
        assertTrue(error.getCause().getMessage().contains("NaN or infinity in row 0"), error.toString());
    }

    @Test
    void eachCallGoesAloneAfterInvalidInput() throws Exception {
        goesAlone(Status.INVALID_ARGUMENT);
    }

    @Test
    void eachCallGoesAloneAfterAServerError() throws Exception {
        goesAlone(Status.INTERNAL);
    }

    private void goesAlone(Status status) throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> first = calls(encoder, 0, 4);
        awaitFour(server);
        List<CompletableFuture<float[]>> calls = calls(encoder, 4, 8);
        server.refuse = number -> {
            List<String> texts = SmallServer.texts(last(server, number));
            return texts.contains("w6") ? status.withDescription("w6 is wrong") : null;
        };
        server.silent = false;
        assertAnswered(first, 0);
        for (int call : new int[] {0, 1, 3}) {
            assertEquals(4 + call, calls.get(call).get()[0]);
        }
        ExecutionException error = assertThrows(ExecutionException.class, () -> calls.get(2).get());
        assertEquals("w6 is wrong", error.getCause().getMessage());
        assertEquals(List.of(1, 1, 1, 1, 4, 1, 1, 1, 1), sizes(server));
    }

    @Test
    void callsThatGoAloneKeepTheLimitAndGoBeforeTheOthers() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = opened(builder(server).maxInFlight(1).build());
        encoder.info();
        server.silent = true;
        server.delayS = 0.05;
        List<CompletableFuture<float[]>> first = calls(encoder, 0, 1);
        Wait.until(() -> server.underWay.get() == 1, "the first request was expected");
        List<CompletableFuture<float[]>> calls = calls(encoder, 1, 5);
        CompletableFuture<float[]> other = encoder.encodeAsync("w5", batches(63)); // which joins none of them
        server.refuse = number -> number == 1 ? Status.INVALID_ARGUMENT.withDescription("no") : null;
        server.silent = false;
        assertAnswered(first, 0);
        assertAnswered(calls, 1);
        assertEquals(5, other.get()[0]);
        assertEquals(1, server.atOnce.get());
        List<String> texts = new ArrayList<>();
        server.requests.forEach(each -> texts.add(String.join(" ", SmallServer.texts(each))));
        assertEquals(List.of("w0", "w1 w2 w3 w4", "w1", "w2", "w3", "w4", "w5"), texts);
    }

    /** The request that the server is about to answer or refuse. */
    private static ModelInferRequest last(SmallServer server, int number) {
        return server.requests.get(number);
    }

    @Test
    void eachCallGetsAnErrorOfItsOwn() {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> calls = calls(encoder, 0, 4);
        awaitFour(server);
        calls.addAll(calls(encoder, 4, 8));
        server.refuse = number -> number < 4 ? null : Status.PERMISSION_DENIED.withDescription("no");
        server.silent = false;
        List<Throwable> errors = new ArrayList<>();
        calls.subList(4, 8).forEach(call -> errors.add(
                assertThrows(ExecutionException.class, call::get).getCause()));
        assertEquals(4, errors.stream().map(System::identityHashCode).distinct().count());
        errors.forEach(error -> assertTrue(error.getMessage().endsWith(": no"), error.getMessage()));
        assertEquals(5, server.received.get());
    }

    @Test
    void aJoinedRequestIsRetriedAsOneWithTheCallsThatAreStillThere() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = busy(server);
        List<CompletableFuture<float[]>> first = calls(encoder, 0, 4);
        awaitFour(server);
        List<CompletableFuture<float[]>> calls = calls(encoder, 4, 8);
        server.refuse = number -> number == 4 ? Status.UNAVAILABLE.withDescription("Exceeds maximum queue size") : null;
        server.silent = false;
        assertAnswered(first, 0);
        Wait.until(() -> server.received.get() >= 5, "the request was not sent");
        assertAnswered(calls, 4);
        assertEquals(List.of(1, 1, 1, 1, 4, 4), sizes(server));
    }

    @Test
    void afterAnOverloadFewerRequestsAreInFlight() throws Exception {
        SmallServer server = server();
        server.delayS = 0.1;
        server.refuse = number -> number < 4 ? Status.UNAVAILABLE.withDescription("the query lane is full") : null;
        SentenceEncoder encoder = open(server);
        encoder.info();
        List<CompletableFuture<float[]>> calls = calls(encoder, 0, 64);
        Wait.until(() -> server.received.get() >= 5, "the requests were not sent");
        server.atOnce.set(0);
        assertAnswered(calls, 0);
        assertTrue(server.atOnce.get() < 4, server.atOnce.toString());
        List<CompletableFuture<float[]>> more = new ArrayList<>();
        for (int round = 0; round < 8; round++) {
            more.addAll(calls(encoder, 0, 100));
            Wait.s(0.05);
        }
        for (CompletableFuture<float[]> call : more) {
            call.get();
        }
        assertEquals(4, server.atOnce.get());
    }

    @Test
    void manyCallersWithManyEndingsLoseNothing() throws Exception {
        SmallServer server = server();
        server.refuse = number -> number % 7 == 3
                ? Status.UNAVAILABLE.withDescription("Server is stopping")
                : number % 11 == 5 ? Status.INVALID_ARGUMENT.withDescription("no") : null;
        SentenceEncoder encoder = open(server);
        List<CompletableFuture<float[]>> calls = new ArrayList<>();
        for (int round = 0; round < 20; round++) {
            calls.addAll(calls(encoder, 0, 50));
            calls.get(50 * round + 7).cancel(true);
            Wait.s(0.01);
        }
        int embedded = 0;
        for (int call = 0; call < calls.size(); call++) {
            try {
                assertEquals(call % 50, calls.get(call).get()[0]);
                embedded += 1;
            } catch (java.util.concurrent.CancellationException cancelled) {
                assertEquals(7, call % 50);
            } catch (ExecutionException error) {
                assertEquals("no", error.getCause().getMessage()); // one that went alone
            }
        }
        assertTrue(embedded > 900, String.valueOf(embedded));
    }

    @Test
    void aReloadingCallBeginsAgain() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = opened(builder(server).onModelChange(OnModelChange.RELOAD).build());
        encoder.info();
        server.refuse = number ->
                number < 2 ? Status.INVALID_ARGUMENT.withDescription("fingerprint mismatch") : null;
        server.manifest = server.manifest.replace("fff", "aaa");
        assertAnswered(calls(encoder, 0, 20), 0);
        assertEquals(1 + 1, server.assets.get());
    }
}
