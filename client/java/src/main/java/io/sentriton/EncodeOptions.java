package io.sentriton;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * The options of one call. Instances do not change and may be shared.
 *
 * <pre>{@code
 * EncodeOptions options = EncodeOptions.builder().normalizeEmbeddings(true).truncateDim(64).build();
 * }</pre>
 */
public final class EncodeOptions {
    static final EncodeOptions DEFAULT = builder().build();

    final @Nullable String promptName;
    final @Nullable String prompt;
    final @Nullable Integer batchSize;
    final boolean normalizeEmbeddings;
    final @Nullable Integer truncateDim;
    final @Nullable Duration timeout;

    private EncodeOptions(Builder builder) {
        promptName = builder.promptName;
        prompt = builder.prompt;
        batchSize = builder.batchSize;
        normalizeEmbeddings = builder.normalizeEmbeddings;
        truncateDim = builder.truncateDim;
        timeout = builder.timeout;
    }

    /**
     * The defaults of the model and the encoder.
     *
     * @return options with nothing set
     */
    public static EncodeOptions defaults() {
        return DEFAULT;
    }

    /**
     * Starts with the defaults.
     *
     * @return a new builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects the options of one call. */
    public static final class Builder {
        private @Nullable String promptName;
        private @Nullable String prompt;
        private @Nullable Integer batchSize;
        private boolean normalizeEmbeddings;
        private @Nullable Integer truncateDim;
        private @Nullable Duration timeout;

        private Builder() {}

        /**
         * Puts a prompt of the model before every sentence.
         *
         * @param value the prompt's name in the manifest
         * @return this builder
         */
        public Builder promptName(String value) {
            promptName = value;
            return this;
        }

        /**
         * Puts a text before every sentence, in place of a prompt of the model.
         *
         * @param value the text
         * @return this builder
         */
        public Builder prompt(String value) {
            prompt = value;
            return this;
        }

        /**
         * Sets the largest number of sentences in one request. Default: the server's largest.
         *
         * @param value a number of at least 1
         * @return this builder
         */
        public Builder batchSize(int value) {
            batchSize = value;
            return this;
        }

        /**
         * Scales every vector to length 1, after {@link #truncateDim}. Default: false.
         *
         * @param value whether to scale
         * @return this builder
         */
        public Builder normalizeEmbeddings(boolean value) {
            normalizeEmbeddings = value;
            return this;
        }

        /**
         * Keeps the first dimensions of every vector. Default: all.
         *
         * @param value a number from 1 to the model's dimension
         * @return this builder
         */
        public Builder truncateDim(int value) {
            truncateDim = value;
            return this;
        }

        /**
         * Sets the deadline of this call, retries included. Default: the encoder's.
         *
         * @param value a duration above 0
         * @return this builder
         */
        public Builder timeout(Duration value) {
            timeout = value;
            return this;
        }

        /**
         * Creates the options. The call checks them.
         *
         * @return the options
         */
        public EncodeOptions build() {
            return new EncodeOptions(this);
        }
    }
}
