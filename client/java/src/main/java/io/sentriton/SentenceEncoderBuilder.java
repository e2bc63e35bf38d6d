package io.sentriton;

import java.nio.file.Path;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * The settings of an encoder. If a setting is not given, the encoder takes the environment variable, then the default.
 *
 * <pre>{@code
 * SentenceEncoder encoder = SentenceEncoder.builder()
 *         .url("one:8001,other:8001")
 *         .timeout(Duration.ofSeconds(10))
 *         .build();
 * }</pre>
 */
public final class SentenceEncoderBuilder {
    @Nullable String url;
    @Nullable Duration timeout;
    @Nullable Duration stallTimeout;
    @Nullable Priority priority;
    @Nullable Integer maxInFlight;
    @Nullable OnModelChange onModelChange;
    @Nullable Boolean tls;
    @Nullable Path rootCertificates;
    @Nullable Path clientCertificate;
    @Nullable Path clientKey;
    @Nullable String serverName;
    @Nullable String accessKey;

    SentenceEncoderBuilder() {}

    /**
     * Sets the address of the server. Variable: {@code SENTRITON_URL}, default: {@code localhost:8001}.
     *
     * @param value host:port, several separated by commas, or dns:///host:port; several share the requests
     * @return this builder
     */
    public SentenceEncoderBuilder url(String value) {
        url = value;
        return this;
    }

    /**
     * Sets the deadline of a whole call, retries included. Variable: {@code SENTRITON_TIMEOUT_S}, default: none.
     *
     * @param value a duration above 0
     * @return this builder
     */
    public SentenceEncoderBuilder timeout(Duration value) {
        timeout = value;
        return this;
    }

    /**
     * Sets the time after which a call fails if none of its requests is answered. Variable:
     * {@code SENTRITON_STALL_TIMEOUT_S}, default: 60 s.
     *
     * @param value a duration above 0
     * @return this builder
     */
    public SentenceEncoderBuilder stallTimeout(Duration value) {
        stallTimeout = value;
        return this;
    }

    /**
     * Sets the server's lane. Variable: {@code SENTRITON_PRIORITY}, default: the query lane.
     *
     * @param value the lane
     * @return this builder
     */
    public SentenceEncoderBuilder priority(Priority value) {
        priority = value;
        return this;
    }

    /**
     * Sets the largest number of requests of one call that are in flight. Variable: {@code SENTRITON_MAX_IN_FLIGHT},
     * default: 16.
     *
     * @param value a number of at least 1
     * @return this builder
     */
    public SentenceEncoderBuilder maxInFlight(int value) {
        maxInFlight = value;
        return this;
    }

    /**
     * Sets the reaction to another model on the server. Variable: {@code SENTRITON_ON_MODEL_CHANGE}, default: raise.
     *
     * @param value the reaction
     * @return this builder
     */
    public SentenceEncoderBuilder onModelChange(OnModelChange value) {
        onModelChange = value;
        return this;
    }

    /**
     * Encrypts with TLS; a certificate turns it on as well. Variable: {@code SENTRITON_TLS}, default: off.
     *
     * @param value whether to encrypt
     * @return this builder
     */
    public SentenceEncoderBuilder tls(boolean value) {
        tls = value;
        return this;
    }

    /**
     * Sets the authorities that the client trusts. Variable: {@code SENTRITON_ROOT_CERTIFICATES}, default: the JVM's.
     *
     * @param value a PEM file
     * @return this builder
     */
    public SentenceEncoderBuilder rootCertificates(Path value) {
        rootCertificates = value;
        return this;
    }

    /**
     * Sets the client's certificate, for mutual TLS. It needs the key. Variable: {@code SENTRITON_CLIENT_CERTIFICATE}.
     *
     * @param value a PEM file
     * @return this builder
     */
    public SentenceEncoderBuilder clientCertificate(Path value) {
        clientCertificate = value;
        return this;
    }

    /**
     * Sets the key of the client's certificate. Variable: {@code SENTRITON_CLIENT_KEY}.
     *
     * @param value a PEM file with a PKCS #8 key ("BEGIN PRIVATE KEY")
     * @return this builder
     */
    public SentenceEncoderBuilder clientKey(Path value) {
        clientKey = value;
        return this;
    }

    /**
     * Sets the name in the server's certificate, if it differs from the address. Variable:
     * {@code SENTRITON_SERVER_NAME}.
     *
     * @param value the name
     * @return this builder
     */
    public SentenceEncoderBuilder serverName(String value) {
        serverName = value;
        return this;
    }

    /**
     * Sets the server's access key, sent as the header {@code triton-grpc-protocol-access-key} and never shown.
     * Variable: {@code SENTRITON_ACCESS_KEY}.
     *
     * @param value printable ASCII characters without spaces or line ends around them
     * @return this builder
     */
    public SentenceEncoderBuilder accessKey(String value) {
        accessKey = value;
        return this;
    }

    /**
     * Creates the encoder. It connects with the first call.
     *
     * @return an encoder with these settings
     * @throws InvalidInputException if a setting is wrong, or a certificate file cannot be read
     */
    public SentenceEncoder build() {
        return new SentenceEncoder(new Settings(this, System::getenv));
    }
}
