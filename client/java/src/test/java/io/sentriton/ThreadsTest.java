package io.sentriton;

import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** No thread stays after close. */
class ThreadsTest extends ServerTest {
    private static Set<String> threads() {
        return Thread.getAllStackTraces().keySet().stream()
                .map(Thread::getName)
                .filter(name -> name.startsWith("sentriton-client") || name.startsWith("grpc-"))
                .collect(Collectors.toSet());
    }

    @Test
    void endWithTheEncoder() {
        SmallServer server = server(); // its threads are gRPC's as well, and end with it
        for (int round = 0; round < 5; round++) {
            SentenceEncoder encoder = open(server);
            encoder.encode(THREE);
            encoder.encodeAsync(List.of("w1"));
            encoder.close();
        }
        try (SentenceEncoder encoder = SentenceEncoder.connect("127.0.0.1:1")) {
            assertFails(ServerUnavailableException.class, "", encoder::info);
        }
        Wait.until(
                () -> threads().stream().noneMatch(name -> name.startsWith("sentriton")),
                "the thread of an encoder stays after close");
        server.close();
        Wait.until(() -> threads().isEmpty(), () -> "threads stay: " + threads());
    }
}
