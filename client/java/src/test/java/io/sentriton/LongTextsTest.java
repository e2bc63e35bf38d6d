package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Calls whose texts have more than 65,536 characters together share no request. */
class LongTextsTest extends ServerTest {
    @Test
    void shareNoRequest() throws Exception {
        SmallServer server = server();
        SentenceEncoder encoder = opened(builder(server).maxInFlight(1).build());
        encoder.info();
        server.silent = true;
        List<CompletableFuture<float[][]>> calls = new ArrayList<>();
        calls.add(encoder.encodeAsync(List.of("w1")));
        Wait.until(() -> server.underWay.get() == 1, "the first call leaves at once");
        String half = "w1" + " ".repeat(40_000);
        calls.add(encoder.encodeAsync(List.of(half))); // two of them are too much for one request
        calls.add(encoder.encodeAsync(List.of(half)));
        calls.add(encoder.encodeAsync(List.of("w2")));
        calls.add(encoder.encodeAsync(List.of(half, half))); // which is too much for any, and does not wait
        Wait.until(() -> server.underWay.get() == 2, "a call of so many characters leaves at once");
        server.silent = false;
        for (CompletableFuture<float[][]> call : calls) {
            call.get();
        }
        assertEquals(
                List.of(1, 2, 2, 1),
                server.requests.stream().map(each -> SmallServer.texts(each).size()).collect(Collectors.toList()));
    }
}
