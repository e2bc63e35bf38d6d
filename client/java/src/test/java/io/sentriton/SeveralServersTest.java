package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Several servers, of which some are silent, slow or away. */
class SeveralServersTest extends ServerTest {
    private static final List<String> WORDS = SmallServer.WORDS;

    @Test
    void shareTheWork() {
        SmallServer[] servers = {server(), server(), server()};
        assertEmbedded(MANY.subList(0, 60), open(servers).encode(MANY.subList(0, 60), batches(1)));
        int sum = 0;
        for (SmallServer server : servers) {
            assertTrue(server.received.get() >= 10, String.valueOf(server.received));
            sum += server.received.get();
        }
        assertEquals(60, sum);
    }

    @Test
    void standInForOneThatIsAway() {
        SmallServer away = server();
        away.refuse = number -> Status.UNAVAILABLE.withDescription("Server is stopping");
        SentenceEncoder encoder = opened(SentenceEncoder.builder()
                .url("127.0.0.1:1," + away.address() + "," + server().address())
                .build());
        assertEmbedded(MANY, encoder.encode(MANY, batches(4)));
        assertTrue(away.received.get() < 10, String.valueOf(away.received));
    }

    @Test
    void oneThatFallsSilentGetsNoRequestsUntilItAnswers() {
        SmallServer silent = server();
        SmallServer other = server();
        silent.delayS = 0.02;
        other.delayS = 0.02;
        SentenceEncoder encoder = open(silent, other);
        silent.refuse = number -> {
            silent.silent |= number == 20;
            return null;
        };
        double took = Wait.timed(() -> assertEmbedded(WORDS, encoder.encode(WORDS, batches(8))));
        assertTrue(took < Wait.SOON_S, String.valueOf(took));
        Wait.until(() -> silent.underWay.get() == 0, "the late requests were not cancelled");
        int received = silent.received.get();
        silent.atOnce.set(0);
        silent.refuse = number -> null;
        double least = Clock.now() + 2;
        while (Clock.now() < least || silent.received.get() == received) {
            assertTrue(Clock.now() < least + Wait.SOON_S, "it gets no probe");
            assertEmbedded(MANY, encoder.encode(MANY, batches(8)));
        }
        assertEquals(1, silent.atOnce.get());
        assertTrue(silent.received.get() - received <= 6, String.valueOf(silent.received));
        silent.silent = false;
        int before = silent.received.get();
        Wait.until(
                () -> {
                    encoder.encode(MANY, batches(8));
                    return silent.received.get() >= before + 20;
                },
                "it answers and gets no requests");
    }

    @Test
    void oneMayBeSilentFromTheBeginning() {
        SmallServer silent = server();
        silent.silent = true;
        SentenceEncoder encoder = open(silent, server());
        assertEmbedded(MANY, encoder.encode(MANY));
        assertEmbedded(THREE, encoder.encode(THREE));
    }

    @Test
    void aJoinedRequestAlsoGoesToAnotherServer() {
        SmallServer silent = server();
        SmallServer other = server();
        SentenceEncoder encoder = open(silent, other);
        encoder.info();
        silent.silent = true;
        double took = Wait.timed(() -> {
            assertEquals(1, encoder.encode("w1")[0]);
            assertEquals(2, encoder.encode("w2")[0]);
        });
        assertTrue(took < Wait.SOON_S, String.valueOf(took));
    }

    @Test
    void slowOnesThatAnswerDoNotGetTwiceTheLoad() {
        SmallServer[] servers = {server(), server()};
        for (SmallServer server : servers) {
            server.delayS = 2.4;
        }
        SentenceEncoder encoder = open(servers);
        assertEquals(32, encoder.encode(WORDS.subList(0, 32), batches(8)).length);
        int before = servers[0].received.get() + servers[1].received.get();
        assertTrue(before >= 4 && before < 2 * 4, String.valueOf(before));
        encoder.encode("w1");
        assertEquals(before + 1, servers[0].received.get() + servers[1].received.get());
    }

    @Test
    void ifNoneAnswersTheCallEndsAsWithOne() {
        SmallServer[] servers = {server(), server()};
        SentenceEncoder encoder = opened(builder(servers).stallTimeout(Duration.ofMillis(2500)).build());
        encoder.info();
        for (SmallServer server : servers) {
            server.silent = true;
        }
        double took = Wait.timed(() -> assertFails(
                DeadlineExceededException.class,
                "answered no request for 2.5 s.*\\(0 of 400 sentences were embedded\\)$",
                () -> encoder.encode(MANY)));
        assertTrue(took < Wait.SOON_S, String.valueOf(took));
    }

    @Test
    void oneThatSaysThatItIsLateIsAskedOnceForItsManifest() {
        SmallServer[] servers = {server(), server()};
        for (SmallServer server : servers) {
            server.changeAsset = answer -> {
                throw Status.DEADLINE_EXCEEDED.withDescription("a proxy gave up").asRuntimeException();
            };
        }
        SentenceEncoder encoder = open(servers);
        assertFails(DeadlineExceededException.class, "did not answer in time: a proxy gave up", encoder::info);
        assertEquals(2, servers[0].assets.get() + servers[1].assets.get());
    }
}
