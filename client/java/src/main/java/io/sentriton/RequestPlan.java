package io.sentriton;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Divides sentences into requests: rows of similar length, longest first. Divides them into requests of at most {@code
 * maxRows} rows, 4,096 tokens and 1 MiB of UTF-8; one row may have more. The server tokenizes, so each character counts
 * as a token, up to {@code maxSeqLength}. At worst, this gives a few more requests.
 */
final class RequestPlan {
    private static final int TOKENS_PER_REQUEST = 4096;
    private static final int SPECIAL_TOKENS = 2; // of a row, with most models
    private static final int BYTES_PER_REQUEST = 1 << 20; // of UTF-8: the server's limit

    private final String[] texts;
    private final int[] order;
    private final String prompt;
    private final int maxRows;
    private final int maxSeqLength;
    private int place;
    private byte @Nullable [] next; // the UTF-8 at this place, if it did not fit the last request

    RequestPlan(String[] texts, int[] order, String prompt, int maxRows, int maxSeqLength) {
        this.texts = texts;
        this.order = order;
        this.prompt = prompt;
        this.maxRows = maxRows;
        this.maxSeqLength = maxSeqLength;
    }

    /** The positions of the texts, longest first; equal lengths keep their order. */
    static int[] longestFirst(String[] texts) {
        long[] keys = new long[texts.length];
        for (int index = 0; index < texts.length; index++) {
            keys[index] = (long) (Integer.MAX_VALUE - texts[index].length()) << Integer.SIZE | index;
        }
        Arrays.sort(keys);
        return Arrays.stream(keys).mapToInt(key -> (int) key).toArray();
    }

    /** Whether one request may have these numbers of tokens and of bytes of UTF-8. */
    static boolean fits(int tokens, long bytes) {
        return tokens <= TOKENS_PER_REQUEST && bytes <= BYTES_PER_REQUEST;
    }

    /** The rows of the next request; null at the end. */
    @Nullable RequestRows next() {
        int start = place;
        int tokens = 0;
        long bytes = 0;
        long characters = 0;
        List<byte[]> rows = new ArrayList<>();
        while (place < order.length && place - start < maxRows) {
            String text = texts[order[place]];
            int length = prompt.length() + text.length();
            int rowTokens = Math.min(length + SPECIAL_TOKENS, maxSeqLength);
            byte[] row = next != null ? next : (prompt + text).getBytes(StandardCharsets.UTF_8);
            next = rows.isEmpty() || fits(tokens + rowTokens, bytes + row.length) ? null : row;
            if (next != null) {
                break;
            }
            rows.add(row);
            tokens += rowTokens;
            bytes += row.length;
            characters += length;
            place += 1;
        }
        if (rows.isEmpty()) {
            return null;
        }
        return new RequestRows(Arrays.copyOfRange(order, start, place), Protocol.bytesTensor(rows), tokens, characters);
    }
}
