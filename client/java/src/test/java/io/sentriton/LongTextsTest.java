package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.sentriton.internal.inference.ModelInferRequest;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Calls whose texts have more than 16 KiB of UTF-8 together share no request. */
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
        String half = "w1" + "가".repeat(2730); // 8,192 bytes
        String whole = "w100" + "가".repeat(5460); // 16,384 bytes
        for (String text : List.of(half, half, "w2", whole)) {
            calls.add(encoder.encodeAsync(List.of(text)));
        }
        // This call is too long to join, so it does not wait.
        calls.add(encoder.encodeAsync(List.of(whole), EncodeOptions.builder().prompt(" ").build()));
        Wait.until(() -> server.underWay.get() == 2, "a call of so many bytes leaves at once");
        server.silent = false;
        for (CompletableFuture<float[][]> call : calls) {
            call.get();
        }
        List<Integer> sizes = server.requests.stream().map(LongTextsTest::bytes).collect(Collectors.toList());
        assertEquals(List.of(2, 16_385, 16_384, 2, 16_384), sizes);
    }

    private static int bytes(ModelInferRequest request) {
        return String.join("", SmallServer.texts(request)).getBytes(StandardCharsets.UTF_8).length;
    }
}
