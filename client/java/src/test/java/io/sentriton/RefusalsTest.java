package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;

/** A server that refuses: full, away, sick, locked, with another model, restarted. */
class RefusalsTest extends ServerTest {
    private static final Status FULL = Status.UNAVAILABLE.withDescription("Exceeds maximum queue size");
    private static final Status AWAY = Status.UNAVAILABLE.withDescription("Server is stopping");
    private static final Status SICK = Status.INTERNAL.withDescription("Stub process 'encoder_0_0' is not healthy.");
    private static final Status CHANGED =
            Status.INVALID_ARGUMENT.withDescription("fingerprint mismatch: the request is for model 'a'");
    private static final List<String> FIFTY = SmallServer.WORDS.subList(0, 50);

    @Test
    void aServerThatIsFullAwayOrSickGetsTheRequestAgain() {
        for (Status refusal : List.of(FULL, AWAY, SICK)) {
            SmallServer server = server();
            server.refuse = number -> number < 5 ? refusal : null;
            assertEmbedded(FIFTY, open(server).encode(FIFTY, batches(10)));
            assertEquals(5 + 5, server.received.get());
        }
    }

    @Test
    void aWrongRequestIsNotRetried() {
        SmallServer server = server();
        server.refuse = number -> Status.INVALID_ARGUMENT.withDescription("no");
        InvalidInputException error =
                assertFails(InvalidInputException.class, "^no$", () -> open(server).encode("w1"));
        assertEquals(1, server.received.get());
        assertNotNull(error.getStatus());
        assertEquals(Status.Code.INVALID_ARGUMENT, error.getStatus().getCode());
        assertTrue(error.getStackTrace()[0].getClassName().startsWith("io.sentriton"));
    }

    @Test
    void theBudgetSparesAFullServer() {
        SmallServer server = server();
        server.refuse = number -> FULL;
        SentenceEncoder encoder = open(server);
        List<String> nine = SmallServer.WORDS.subList(0, 9); // too many to join
        List<CompletableFuture<float[][]>> calls = new ArrayList<>();
        for (int call = 0; call < 200; call++) {
            calls.add(encoder.encodeAsync(nine));
        }
        calls.forEach(call -> {
            Throwable error = org.junit.jupiter.api.Assertions.assertThrows(ExecutionException.class, call::get);
            assertEquals(OverloadedException.class, error.getCause().getClass());
        });
        assertEquals(200 + 100, server.received.get());
    }

    @Test
    void aServerThatIsAwayForASecondLosesNoneOf300Calls() throws Exception {
        SmallServer server = server();
        double until = Clock.now() + 1;
        server.refuse = number -> Clock.now() < until ? AWAY : null;
        SentenceEncoder encoder = open(server);
        List<CompletableFuture<float[]>> calls = new ArrayList<>();
        for (int call = 0; call < 300; call++) {
            calls.add(encoder.encodeAsync("w" + call));
        }
        for (int call = 0; call < 300; call++) {
            assertEquals(call, calls.get(call).get()[0]);
        }
    }

    @Test
    void aRestartLosesNoCall() throws Exception {
        SmallServer first = server();
        first.delayS = 0.02;
        SentenceEncoder encoder = open(first);
        CompletableFuture<float[][]> call = encoder.encodeAsync(SmallServer.WORDS, batches(8));
        List<CompletableFuture<float[]>> single = new ArrayList<>();
        Wait.until(() -> first.received.get() > 10, "the requests were not sent");
        single.add(encoder.encodeAsync("w1"));
        first.close();
        single.add(encoder.encodeAsync("w1"));
        Wait.s(1);
        opened(new SmallServer(first.port, null));
        assertEmbedded(SmallServer.WORDS, call.get());
        for (CompletableFuture<float[]> each : single) {
            assertEquals(1, each.get()[0]);
        }
    }

    @Test
    void anIdleEncoderFindsAServerThatComesBack() {
        SmallServer first = server();
        SentenceEncoder encoder = open(first);
        encoder.info();
        first.close();
        Wait.s(1.5); // gRPC's own second attempt to connect would come later
        SmallServer again = opened(new SmallServer(first.port, null));
        again.golden = "{\"sentences\": [\"w1\"], \"sentence_embedding\": [[1, 1, 1, 1]]}";
        Wait.s(2.5);
        assertEquals(1, encoder.health().minCosine(), 1e-6); // which is not retried
    }

    @Test
    void nobodyThereSaysHowToStartAServer() {
        try (SentenceEncoder encoder = SentenceEncoder.connect("127.0.0.1:1")) {
            assertFails(
                    ServerUnavailableException.class,
                    "^no answer from 127.0.0.1:1: Connection refused: /127.0.0.1:1; is it running\\? `sentriton serve`",
                    () -> encoder.health(Duration.ofSeconds(5)));
        }
        try (SentenceEncoder encoder = SentenceEncoder.connect("no.such.host.invalid:1")) {
            String says = "^no answer from no.such.host.invalid:1: no address is known for the host no.such";
            assertFails(ServerUnavailableException.class, says, encoder::info);
        }
    }

    @Test
    void anotherModelIsAContractMismatch() {
        SmallServer server = server();
        server.refuse = number -> CHANGED;
        assertFails(ContractMismatchException.class, "fingerprint mismatch", () -> open(server).encode("w1"));
        assertFails(ContractMismatchException.class, "fingerprint mismatch", () -> open(server).encode(FIFTY));
        assertEquals(1 + 1, server.received.get());
    }

    @Test
    void aReloadingCallRestartsWithTheNewModelAtMostThreeTimes() {
        for (List<String> sentences : List.of(THREE, FIFTY)) {
            SmallServer server = server();
            SentenceEncoder encoder = opened(builder(server).onModelChange(OnModelChange.RELOAD).build());
            encoder.info();
            server.manifest = server.manifest.replace("fff", "aaa");
            server.refuse = number -> number == 0 ? CHANGED : null;
            assertEmbedded(sentences, encoder.encode(sentences));
            assertEquals("aaa", encoder.info().fingerprint().substring(0, 3));
            assertEquals(1 + 1, server.received.get());
            assertEquals(1 + 1, server.assets.get());
            server.refuse = number -> CHANGED;
            assertFails(ContractMismatchException.class, "mismatch", () -> encoder.encode(sentences));
            assertEquals(2 + 1 + 3, server.received.get());
        }
    }

    @Test
    void theAccessKeyTravelsInTritonsHeader() {
        SmallServer server = server();
        opened(builder(server).accessKey("a key").build()).encode("w1");
        Metadata.Key<String> header =
                Metadata.Key.of("triton-grpc-protocol-access-key", Metadata.ASCII_STRING_MARSHALLER);
        server.headers.forEach(each -> assertEquals("a key", each.get(header)));
        server.refuse = number -> Status.UNAVAILABLE.withDescription(
                "This protocol is restricted, expecting header 'triton-grpc-protocol-access-key'");
        assertFails(AccessDeniedException.class, "give the server's accessKey", () -> open(server).encode("w1"));
    }

    @Test
    void promptsOfTheModel() {
        SmallServer server = server();
        server.manifest = server.manifest.replace(
                "\"prompts\": {}", "\"prompts\": {\"query\": \"w1\", \"passage\": \"w2\"}");
        SentenceEncoder encoder = open(server);
        assertEquals(17, encoder.encodeQuery("7")[0]);
        assertEquals(27, encoder.encodeDocument(List.of("7"))[0][0]);
        assertEquals(7, encoder.encode("w7")[0]);
        EncodeOptions own = EncodeOptions.builder().prompt("w3").promptName("none").build();
        assertEquals(37, encoder.encodeQuery("7", own)[0]);
        EncodeOptions unknown = EncodeOptions.builder().promptName("nope").build();
        assertFails(
                InvalidInputException.class,
                "^promptName is \"nope\"; the model's prompts are \"query\", \"passage\"$",
                () -> encoder.encode("7", unknown));
        server.manifest = server.manifest.replace("\"include_prompt\": true", "\"include_prompt\": false");
        SentenceEncoder other = open(server);
        assertFails(InvalidInputException.class, "only the Python client supports", () -> other.encodeQuery("7"));
        List<String> empty = Collections.emptyList();
        assertEquals(0, other.encode(empty).length);
    }

    @Test
    void theServersErrorForATextNamesTheSentence() {
        SmallServer server = server();
        server.refuse = number -> {
            int row = SmallServer.texts(server.requests.get(number)).indexOf("w10");
            return row < 0
                    ? null
                    : Status.INVALID_ARGUMENT.withDescription("text in row " + row + " has 9 bytes; allowed are 8");
        };
        SentenceEncoder encoder = opened(builder(server).maxInFlight(1).build());
        List<String> sentences = List.of("w1", "w100", "w10", "w1000");
        for (int size : new int[] {1, 2, 64}) { // 64: a joined request
            assertFails(
                    InvalidInputException.class,
                    "^sentences\\[2\\] has 9 bytes; allowed are 8 \\(",
                    () -> encoder.encode(sentences, batches(size)));
        }
    }
}
