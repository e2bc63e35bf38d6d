package io.sentriton;

import com.google.protobuf.ByteString;

/** The rows of one request: the positions of their sentences, the tensor's bytes, tokens and characters. */
final class RequestRows {
    final int[] indices;
    final ByteString content;
    final int tokens; // upper bound, since the client does not tokenize
    final long characters;

    RequestRows(int[] indices, ByteString content, int tokens, long characters) {
        this.indices = indices;
        this.content = content;
        this.tokens = tokens;
        this.characters = characters;
    }

    /** The bytes of the texts alone, without those of the lengths in {@code content}. */
    int textBytes() {
        return content.size() - Integer.BYTES * indices.length;
    }
}
