package io.sentriton;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.netty.handler.ssl.ClientAuth;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** TLS, right and wrong. */
class SecurityTest extends ServerTest {
    @TempDir
    static Path folder;

    /** Certificates of a server at localhost and of a client, each its own authority. */
    @BeforeAll
    static void makeCertificates() throws Exception {
        for (String name : List.of("server", "client")) {
            String[] command = ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
                    + "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout " + name + ".key.pem -out "
                    + name + ".pem").split(" ");
            try {
                int status = new ProcessBuilder(command).directory(folder.toFile()).start().waitFor();
                assumeTrue(status == 0, "openssl made no certificates");
            } catch (IOException error) {
                assumeTrue(false, "needs openssl on the PATH: " + error.getMessage());
            }
        }
    }

    private static Path pem(String name) {
        return folder.resolve(name + ".pem");
    }

    private SmallServer secured(boolean mutual) throws Exception {
        SslContextBuilder builder = SslContextBuilder.forServer(pem("server").toFile(), pem("server.key").toFile());
        if (mutual) {
            builder.trustManager(pem("client").toFile()).clientAuth(ClientAuth.REQUIRE);
        }
        SslContext security = GrpcSslContexts.configure(builder).build();
        return opened(new SmallServer(0, security));
    }

    @Test
    void aNamedRootCertificateIsTrustedAndAStrangersIsNot() throws Exception {
        SmallServer server = secured(false);
        String named = "localhost:" + server.port;
        SentenceEncoderBuilder trusting = SentenceEncoder.builder().rootCertificates(pem("server"));
        assertEmbedded(THREE, opened(trusting.url(named).build()).encode(THREE));
        SentenceEncoder wrongName = opened(trusting.url(server.address()).build());
        assertFails(AccessDeniedException.class, "certificate|subject alternative|name", () -> wrongName.encode("w1"));
        assertEmbedded(THREE, opened(trusting.serverName("localhost").build()).encode(THREE));

        SentenceEncoder stranger =
                opened(SentenceEncoder.builder().url(named).rootCertificates(pem("client")).build());
        assertFails(AccessDeniedException.class, "^no access to " + named, () -> stranger.encode("w1"));
        SentenceEncoder system = opened(SentenceEncoder.builder().url(named).tls(true).build());
        assertFails(AccessDeniedException.class, "^no access to " + named, () -> system.encode("w1"));
    }

    @Test
    void mutualTls() throws Exception {
        SmallServer server = secured(true);
        SentenceEncoderBuilder trusting = SentenceEncoder.builder()
                .url("localhost:" + server.port)
                .rootCertificates(pem("server"))
                .timeout(java.time.Duration.ofSeconds(3));
        SentenceEncoder unknown = opened(trusting.build());
        assertFails(AccessDeniedException.class, "(?i)certificate.required", () -> unknown.encode("w1"));
        trusting.clientCertificate(pem("client")).clientKey(pem("client.key"));
        assertEmbedded(THREE, opened(trusting.build()).encode(THREE));
    }

    @Test
    void wrongFilesAreNamed() {
        SentenceEncoderBuilder builder =
                SentenceEncoder.builder().clientCertificate(pem("client.key")).clientKey(pem("client"));
        assertFails(InvalidInputException.class, "^cannot use the certificate files .*client.*PKCS #8", builder::build);
    }

    @Test
    void plainTextAtATlsServerIsUnavailable() throws Exception {
        SmallServer server = secured(false);
        SentenceEncoder plain = open(server);
        assertFails(ServerUnavailableException.class, "^no answer from ", plain::info);
    }
}
