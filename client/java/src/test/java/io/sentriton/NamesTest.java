package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** Addresses by name. */
class NamesTest extends ServerTest {
    /** Answers every question for an A record with 127.0.0.1, and all others with nothing. */
    private static final class NameServer implements AutoCloseable {
        private static final byte[] RECORD = {
            (byte) 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1
        };

        final AtomicInteger questions = new AtomicInteger();
        private final DatagramSocket socket = new DatagramSocket(0, InetAddress.getLoopbackAddress());

        NameServer() throws IOException {
            Thread thread = new Thread(this::answerAll, "name-server");
            thread.setDaemon(true);
            thread.start();
        }

        private void answerAll() {
            try {
                while (true) {
                    DatagramPacket packet = new DatagramPacket(new byte[512], 512);
                    socket.receive(packet);
                    questions.incrementAndGet();
                    packet.setLength(answer(packet.getData(), packet.getLength()));
                    socket.send(packet);
                }
            } catch (IOException closed) {
                // The test is over.
            }
        }

        private static int answer(byte[] message, int length) {
            int end = 12;
            while (message[end] != 0) {
                end += message[end] + 1;
            }
            end += 5; // its zero, type and class
            boolean isAddress = message[end - 3] == 1;
            message[2] = (byte) 0x81; // an answer
            message[3] = (byte) 0x80;
            message[7] = (byte) (isAddress ? 1 : 0);
            message[9] = 0;
            message[11] = 0;
            if (isAddress) {
                System.arraycopy(RECORD, 0, message, end, RECORD.length);
            }
            return isAddress ? end + RECORD.length : end;
        }

        @Override
        public void close() {
            socket.close();
        }
    }

    @Test
    void theNameServerOfTheAddressIsUsed() throws Exception {
        SmallServer server = server();
        NameServer names = opened(new NameServer());
        String url = "dns://127.0.0.1:" + names.socket.getLocalPort() + "/embeddings.test:" + server.port;
        assertEmbedded(THREE, opened(SentenceEncoder.connect(url)).encode(THREE));
        assertEquals(1, server.assets.get());
    }

    @Test
    void aNameServerThatCannotBeAskedIsNamed() {
        String url = "dns://127.0.0.1:99999/embeddings.test:1"; // of which JNDI makes an unchecked error
        SentenceEncoder encoder = opened(SentenceEncoder.connect(url));
        assertFails(
                ServerUnavailableException.class,
                "no address is known for the host embeddings.test at the name server 127.0.0.1:99999",
                () -> encoder.health(java.time.Duration.ofSeconds(10)));
    }

    @Test
    void namesAndAddressesOfEveryForm() {
        SmallServer server = server();
        for (String host : new String[] {"localhost", "127.0.0.1", "dns:///localhost", "dns:///127.0.0.1"}) {
            try (SentenceEncoder encoder = SentenceEncoder.connect(host + ":" + server.port)) {
                assertEmbedded(THREE, encoder.encode(THREE));
            }
        }
        assertEquals("sentriton:///%5B::1%5D:2", Names.target("[::1]:2"));
        try (SentenceEncoder encoder = SentenceEncoder.connect("[::1]:1")) {
            assertFails(ServerUnavailableException.class, "^no answer from \\[::1\\]:1: ", encoder::info);
        }
    }
}
