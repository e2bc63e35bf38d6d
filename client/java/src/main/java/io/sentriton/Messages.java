package io.sentriton;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageLite;
import com.google.protobuf.Parser;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;

/** protobuf messages for gRPC. gRPC's class would tie an application to one version of protobuf. */
final class Messages<T extends MessageLite> implements MethodDescriptor.Marshaller<T> {
    private final Parser<T> parser;

    Messages(Parser<T> parser) {
        this.parser = parser;
    }

    @Override
    public InputStream stream(T message) {
        return new ByteArrayInputStream(message.toByteArray());
    }

    @Override
    public T parse(InputStream stream) {
        try {
            return parser.parseFrom(stream.readAllBytes());
        } catch (InvalidProtocolBufferException error) {
            throw Status.INTERNAL
                    .withDescription("the answer is no message of inference.proto: " + error.getMessage())
                    .withCause(error)
                    .asRuntimeException();
        } catch (IOException error) {
            throw Status.INTERNAL.withDescription(String.valueOf(error)).withCause(error).asRuntimeException();
        }
    }
}
