package io.sentriton;

import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/** Fetches a server's files, and reads them. */
final class Assets {
    static final String MANIFEST = "manifest.json";
    static final String GOLDEN = "golden.json";

    private Assets() {}

    /**
     * The content of a file, read. The future fails with a {@code SentritonException}; content that {@code read}
     * rejects is a {@code ServerErrorException} that names server and file.
     */
    static <T> CompletableFuture<T> fetch(
            Connection connection, String name, double timeoutS, Function<String, T> read) {
        CompletableFuture<T> future = new CompletableFuture<>();
        connection.infer(Protocol.assetRequest(name), timeoutS, (response, error) -> {
            if (response == null) {
                future.completeExceptionally(error);
                return;
            }
            try {
                future.complete(read.apply(Protocol.readAsset(response)));
            } catch (IllegalArgumentException wrong) {
                future.completeExceptionally(new ServerErrorException(
                        connection.address() + " sent a " + name + " that this client cannot read: "
                                + wrong.getMessage(),
                        wrong));
            } catch (RuntimeException wrong) {
                future.completeExceptionally(wrong);
            }
        });
        return future;
    }
}
