package io.sentriton;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The served model, as its server describes it. */
public final class Manifest {
    /** A function that scores two vectors; higher is more similar. */
    public enum SimilarityFunction {
        /** The cosine of the angle. */
        COSINE,
        /** The dot product. */
        DOT,
        /** The negative euclidean distance. */
        EUCLIDEAN,
        /** The negative Manhattan distance. */
        MANHATTAN
    }

    private static final List<String> FIELDS = List.of(
            "name",
            "fingerprint",
            "dimension",
            "max_seq_length",
            "vocab_size",
            "max_batch_size",
            "pooling",
            "include_prompt",
            "prompts",
            "default_prompt_name",
            "similarity",
            "precision",
            "device",
            "min_cosine",
            "parity",
            "files",
            "sentriton_version");
    private static final int LARGEST_DIMENSION = 65_536; // far above any encoder's

    private final String name;
    private final String fingerprint;
    private final int dimension;
    private final int maxSeqLength;
    private final int vocabSize;
    private final int maxBatchSize;
    private final List<String> pooling;
    private final boolean includePrompt;
    private final Map<String, String> prompts;
    private final @Nullable String defaultPromptName;
    private final SimilarityFunction similarity;
    private final String precision;
    private final String device;
    private final double minCosine;
    private final Map<String, Double> parity;
    private final Map<String, String> files;
    private final String sentritonVersion;

    private Manifest(ManifestFields fields) {
        name = fields.text("name");
        fingerprint = fields.text("fingerprint");
        dimension = fields.whole("dimension", LARGEST_DIMENSION);
        maxSeqLength = fields.whole("max_seq_length", Integer.MAX_VALUE);
        vocabSize = fields.whole("vocab_size", Integer.MAX_VALUE);
        maxBatchSize = fields.whole("max_batch_size", Integer.MAX_VALUE);
        pooling = fields.texts("pooling");
        includePrompt = fields.flag("include_prompt");
        prompts = fields.strings("prompts");
        defaultPromptName = fields.stringOrNull("default_prompt_name");
        similarity = fields.similarity("similarity");
        precision = fields.text("precision");
        device = fields.text("device");
        minCosine = fields.cosine("min_cosine");
        parity = fields.numbers("parity", "min_cosine", "sentences");
        files = fields.sums("files", "tokenizer.json");
        sentritonVersion = fields.text("sentriton_version");
        if (defaultPromptName != null && !prompts.containsKey(defaultPromptName)) {
            throw fields.wrong("default_prompt_name", "one of its prompts");
        }
    }

    /**
     * Reads manifest.json. Throws {@code IllegalArgumentException} that names the missing or wrong field. Fields of a
     * newer server are ignored.
     */
    static Manifest read(String text) {
        return new Manifest(new ManifestFields(Json.object("the manifest", text), FIELDS));
    }

    /**
     * The model's name.
     *
     * @return a text
     */
    public String name() {
        return name;
    }

    /**
     * The sha256 of weights, tokenizer, modules, prompts and max_seq_length. It is the same at every precision and on
     * every device.
     *
     * @return 64 hexadecimal digits
     */
    public String fingerprint() {
        return fingerprint;
    }

    /**
     * The length of a vector.
     *
     * @return a number of at least 1
     */
    public int dimension() {
        return dimension;
    }

    /**
     * The largest number of tokens of a sentence, special ones included; a longer one is truncated.
     *
     * @return a number of at least 1
     */
    public int maxSeqLength() {
        return maxSeqLength;
    }

    /**
     * The number of tokens in the vocabulary.
     *
     * @return a number of at least 1
     */
    public int vocabSize() {
        return vocabSize;
    }

    /**
     * The largest number of rows in one request.
     *
     * @return a number of at least 1
     */
    public int maxBatchSize() {
        return maxBatchSize;
    }

    /**
     * The pooling modes.
     *
     * @return names such as mean
     */
    public List<String> pooling() {
        return pooling;
    }

    /**
     * Whether the tokens of a prompt are pooled too.
     *
     * @return false if only a client that tokenizes may use prompts
     */
    public boolean includePrompt() {
        return includePrompt;
    }

    /**
     * The model's prompts.
     *
     * @return texts by name
     */
    public Map<String, String> prompts() {
        return prompts;
    }

    /**
     * The prompt of calls without a prompt.
     *
     * @return a name among the prompts, or null
     */
    public @Nullable String defaultPromptName() {
        return defaultPromptName;
    }

    /**
     * The model's similarity function.
     *
     * @return the function of {@link SentenceEncoder#similarity}
     */
    public SimilarityFunction similarity() {
        return similarity;
    }

    /**
     * The precision of the computation.
     *
     * @return a text such as fp32
     */
    public String precision() {
        return precision;
    }

    /**
     * The device of the computation.
     *
     * @return cpu or cuda
     */
    public String device() {
        return device;
    }

    /**
     * The smallest cosine to sentence-transformers' vectors that the precision allows.
     *
     * @return a number from -1 to 1
     */
    public double minCosine() {
        return minCosine;
    }

    /**
     * The measured agreement with sentence-transformers.
     *
     * @return numbers by name, including min_cosine and sentences
     */
    public Map<String, Double> parity() {
        return parity;
    }

    /**
     * The sha256 of the model's files.
     *
     * @return hexadecimal digits by file name
     */
    public Map<String, String> files() {
        return files;
    }

    /**
     * The version of the server that exported the model.
     *
     * @return a text such as 0.2.0
     */
    public String sentritonVersion() {
        return sentritonVersion;
    }
}
