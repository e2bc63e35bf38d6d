package io.sentriton;

import com.google.gson.Gson;
import com.google.protobuf.MessageLite;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

/**
 * Reads [[message name, base64]] from standard input, decodes each with the generated code, and writes the list with
 * the result of encoding them again.
 */
final class Reencode {
    private Reencode() {}

    public static void main(String[] arguments) throws ReflectiveOperationException {
        InputStreamReader input = new InputStreamReader(System.in, StandardCharsets.UTF_8);
        String[][] messages = new Gson().fromJson(input, String[][].class);
        for (String[] message : messages) {
            Class<?> kind = Class.forName("io.sentriton.internal.inference." + message[0]);
            byte[] bytes = Base64.getDecoder().decode(message[1]);
            MessageLite decoded = (MessageLite) kind.getMethod("parseFrom", byte[].class).invoke(null, bytes);
            message[1] = Base64.getEncoder().encodeToString(decoded.toByteArray());
        }
        System.out.println(new Gson().toJson(messages));
    }
}
