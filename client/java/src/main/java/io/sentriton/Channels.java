package io.sentriton;

import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLException;

/** Opens gRPC channels by the settings. */
final class Channels {
    private static final int CONNECT_TIMEOUT_MS = 5_000;

    private Channels() {}

    /** A channel to one address, whose callbacks {@code executor} runs. Throws {@code InvalidInputException}. */
    static ManagedChannel open(String address, Settings settings, Executor executor) {
        NettyChannelBuilder builder = NettyChannelBuilder.forTarget(Names.target(address))
                .executor(executor)
                // By default, gRPC's limit is 4 MB, 1,000 vectors of 1,024 dimensions.
                .maxInboundMessageSize(Integer.MAX_VALUE)
                // Detects a connection that a firewall or a dead node has dropped, before the deadline of a call.
                .keepAliveTime(30, TimeUnit.SECONDS)
                .keepAliveTimeout(10, TimeUnit.SECONDS)
                .withOption(ChannelOption.CONNECT_TIMEOUT_MILLIS, CONNECT_TIMEOUT_MS)
                .defaultLoadBalancingPolicy("round_robin")
                // The client retries by itself, within its deadline and budget.
                .disableRetry()
                .disableServiceConfigLookUp();
        if (settings.serverName != null) {
            builder.overrideAuthority(settings.serverName);
        }
        if (settings.tls) {
            builder.sslContext(security(settings));
        } else {
            builder.usePlaintext();
        }
        return builder.build();
    }

    private static SslContext security(Settings settings) {
        SslContextBuilder builder = GrpcSslContexts.forClient();
        try {
            if (settings.rootCertificates != null) {
                builder.trustManager(pem(settings.rootCertificates));
            }
            if (settings.clientCertificate != null && settings.clientKey != null) {
                builder.keyManager(pem(settings.clientCertificate), pem(settings.clientKey));
            }
            return builder.build();
        } catch (IllegalArgumentException | SSLException error) {
            throw new InvalidInputException(
                    "cannot use the certificate files " + settings.rootCertificates + ", " + settings.clientCertificate
                            + ", " + settings.clientKey + ": " + error.getMessage() + "; give PEM files, and a key in "
                            + "PKCS #8 without a password (openssl pkcs8 -topk8 -nocrypt)",
                    error);
        }
    }

    private static InputStream pem(Path path) {
        try {
            return new ByteArrayInputStream(Files.readAllBytes(path));
        } catch (IOException error) {
            throw new InvalidInputException(
                    "cannot read certificate file " + path + ": " + error + "; give a PEM file", error);
        }
    }
}
