package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.function.Executable;

/** Tests with servers and encoders that are closed when a test ends. */
abstract class ServerTest {
    static final List<String> THREE = SmallServer.WORDS.subList(0, 3);
    static final List<String> MANY = SmallServer.WORDS.subList(0, 400);

    private final Deque<AutoCloseable> opened = new ArrayDeque<>();

    @AfterEach
    void closeAll() throws Exception {
        while (!opened.isEmpty()) {
            opened.pop().close();
        }
    }

    final <T extends AutoCloseable> T opened(T resource) {
        opened.push(resource);
        return resource;
    }

    final SmallServer server() {
        return opened(new SmallServer());
    }

    final SentenceEncoder open(SmallServer... servers) {
        return opened(builder(servers).build());
    }

    static SentenceEncoderBuilder builder(SmallServer... servers) {
        StringBuilder url = new StringBuilder();
        for (SmallServer server : servers) {
            url.append(url.length() == 0 ? "" : ",").append(server.address());
        }
        return SentenceEncoder.builder().url(url.toString());
    }

    static EncodeOptions batches(int size) {
        return EncodeOptions.builder().batchSize(size).build();
    }

    static void assertEmbedded(List<String> words, float[][] found) {
        assertEquals(words.size(), found.length);
        for (int row = 0; row < found.length; row++) {
            org.junit.jupiter.api.Assertions.assertArrayEquals(SmallServer.vector(words.get(row)), found[row]);
        }
    }

    /** Asserts the class and, as a regular expression, the message. */
    static <T extends SentritonException> T assertFails(Class<T> kind, String says, Executable body) {
        SentritonException error = assertThrows(SentritonException.class, body);
        assertEquals(kind, error.getClass(), error.getMessage());
        assertTrue(java.util.regex.Pattern.compile(says, java.util.regex.Pattern.DOTALL)
                .matcher(error.getMessage()).find(), error.getMessage());
        return kind.cast(error);
    }
}
