package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.DataInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import org.junit.jupiter.api.Test;

/** A connection that is complete only shortly before the deadline of its request. */
class SlowConnectionTest {
    private static final byte[] SETTINGS = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    private static final int PREFACE = 24;
    private static final int HEADERS = 1;

    @Test
    void sendsARequestOnlyWithTimeLeft() throws Exception {
        ScheduledExecutorService thread = Executors.newSingleThreadScheduledExecutor();
        try {
            assertTrue(isSent(thread, 30, 0));
            for (int attempt = 0; attempt < 10; attempt++) {
                assertFalse(isSent(thread, 0.1, 0.0985));
            }
        } finally {
            thread.shutdownNow();
        }
    }

    /** Whether a request of {@code timeoutS} is sent on a connection that takes {@code connectS}. */
    private static boolean isSent(ScheduledExecutorService thread, double timeoutS, double connectS)
            throws IOException, InterruptedException {
        ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        String address = "127.0.0.1:" + server.getLocalPort();
        Settings settings = new Settings(SentenceEncoder.builder().url(address), name -> null);
        Connection connection = new Connection(address, settings, thread);
        try {
            CompletableFuture<SentritonException> ended = new CompletableFuture<>();
            connection.infer(Protocol.assetRequest("manifest.json"), timeoutS, (response, error) -> ended.complete(error));
            double connected = Clock.now() + connectS;
            boolean sent;
            try (server; Socket socket = server.accept()) {
                while (Clock.now() < connected) {
                    Thread.onSpinWait();
                }
                socket.getOutputStream().write(SETTINGS);
                socket.setSoTimeout(500);
                sent = receivesHeaders(new DataInputStream(socket.getInputStream()));
            }
            assertEquals(!sent, ended.join() instanceof DeadlineExceededException, String.valueOf(ended.join()));
            return sent;
        } finally {
            connection.close();
            connection.awaitClosed();
        }
    }

    private static boolean receivesHeaders(DataInputStream input) throws IOException {
        try {
            input.readFully(new byte[PREFACE]);
            while (true) {
                int size = (input.readUnsignedShort() << 8) + input.readUnsignedByte();
                if (input.readUnsignedByte() == HEADERS) {
                    return true;
                }
                input.readFully(new byte[5 + size]); // flags, stream and content
            }
        } catch (SocketTimeoutException silent) {
            return false;
        }
    }
}
