package io.sentriton;

import com.google.protobuf.ByteString;
import io.sentriton.internal.inference.InferParameter;
import io.sentriton.internal.inference.ModelInferRequest;
import io.sentriton.internal.inference.ModelInferResponse;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.stream.Collectors;

/** Requests and responses of the models, as messages of protos/inference/inference.proto: no network. */
final class Protocol {
    private static final String EMBED_TEXT = "embed_text";
    private static final String ASSETS = "assets";
    private static final String SENTENCE_EMBEDDING = "sentence_embedding";
    private static final double MICROSECONDS = 1e6;

    private Protocol() {}

    /**
     * A request to {@code embed_text}: {@code text} BYTES [rows, 1]. The server has {@code timeoutS} for it;
     * {@code content} is the tensor's bytes, see {@link #bytesTensor}.
     */
    static ModelInferRequest textRequest(
            ByteString content, int rows, String fingerprint, Priority priority, double timeoutS) {
        long timeoutUs = Math.max(1, (long) (timeoutS * MICROSECONDS));
        return request(EMBED_TEXT, "text", content, rows, 1)
                .putParameters("fingerprint", InferParameter.newBuilder().setStringParam(fingerprint).build())
                .putParameters("lane", InferParameter.newBuilder().setStringParam(priority.lane).build())
                .putParameters("timeout", InferParameter.newBuilder().setInt64Param(timeoutUs).build())
                .build();
    }

    /** A request to {@code assets}: {@code name} BYTES [1]. */
    static ModelInferRequest assetRequest(String name) {
        byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
        return request(ASSETS, "name", bytesTensor(List.of(bytes)), 1).build();
    }

    /** A tensor of BYTES: each element's length in 4 bytes, little-endian, then its bytes. */
    static ByteString bytesTensor(List<byte[]> elements) {
        int size = elements.stream().mapToInt(element -> Integer.BYTES + element.length).sum();
        ByteBuffer buffer = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        elements.forEach(element -> buffer.putInt(element.length).put(element));
        return ByteString.copyFrom(buffer.flip());
    }

    /**
     * {@code sentence_embedding} of a response, row by row: FP32 [rows, dimension]. Throws {@code ServerErrorException}
     * for another shape, NaN or infinity.
     */
    static FloatBuffer readSentenceEmbedding(ModelInferResponse response, int rows, int dimension) {
        FloatBuffer values = readForm(response, rows, dimension);
        checkFinite(values, dimension);
        return values;
    }

    /** {@link #readSentenceEmbedding} without the check of the numbers. */
    static FloatBuffer readForm(ModelInferResponse response, int rows, int dimension) {
        int place = output(response, SENTENCE_EMBEDDING, "FP32", EMBED_TEXT);
        List<Long> shape = response.getOutputs(place).getShapeList();
        if (!shape.equals(List.of((long) rows, (long) dimension))) {
            throw wrong("a sentence_embedding of shape " + shape + "; expected [" + rows + ", " + dimension + "]");
        }
        ByteString raw = response.getRawOutputContents(place);
        long size = (long) rows * dimension * Float.BYTES;
        if (raw.size() != size) {
            throw wrong(raw.size() + " bytes for a sentence_embedding; expected " + size);
        }
        return raw.asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    }

    /** Throws {@code ServerErrorException} for NaN or infinity. */
    static void checkFinite(FloatBuffer values, int dimension) {
        for (int at = 0; at < values.limit(); at++) {
            if (!Float.isFinite(values.get(at))) {
                int row = at / dimension;
                throw wrong("a sentence_embedding with NaN or infinity in row " + row + "; expected numbers");
            }
        }
    }

    /** {@code content} of a response of {@code assets}: BYTES [1]. Throws {@code ServerErrorException}. */
    static String readAsset(ModelInferResponse response) {
        int place = output(response, "content", "BYTES", ASSETS);
        List<Long> shape = response.getOutputs(place).getShapeList();
        ByteString raw = response.getRawOutputContents(place);
        ByteBuffer bytes = raw.asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
        if (!shape.equals(List.of(1L)) || raw.size() < Integer.BYTES || bytes.getInt() != raw.size() - Integer.BYTES) {
            StringBuilder begin = new StringBuilder("0x");
            raw.substring(0, Math.min(Integer.BYTES, raw.size())).forEach(each -> begin.append(hex(each)));
            throw wrong("an asset of shape " + shape + " in " + raw.size() + " bytes that begin with " + begin
                    + "; expected shape [1], the first 4 bytes being the length of the rest");
        }
        return raw.substring(Integer.BYTES).toStringUtf8();
    }

    /** The position of the output {@code name}, which must have this datatype and come from this model. */
    private static int output(ModelInferResponse response, String name, String datatype, String model) {
        if (!response.getModelName().equals(model)) {
            throw wrong("an answer of the model \"" + response.getModelName() + "\"; expected " + model);
        }
        List<String> names = response.getOutputsList().stream()
                .map(ModelInferResponse.InferOutputTensor::getName)
                .collect(Collectors.toList());
        int place = names.indexOf(name);
        int contents = response.getRawOutputContentsCount();
        if (place == -1 || place != names.lastIndexOf(name) || contents != names.size()) {
            String given = names.isEmpty() ? "none" : '"' + String.join("\", \"", names) + '"';
            throw wrong("the outputs " + given + " with " + contents + " contents; expected " + name
                    + " once, and a content for each output");
        }
        String given = response.getOutputs(place).getDatatype();
        if (!given.equals(datatype)) {
            throw wrong(name + " as \"" + given + "\"; expected " + datatype);
        }
        return place;
    }

    private static ModelInferRequest.Builder request(String model, String name, ByteString content, long... shape) {
        ModelInferRequest.InferInputTensor.Builder input =
                ModelInferRequest.InferInputTensor.newBuilder().setName(name).setDatatype("BYTES");
        for (long size : shape) {
            input.addShape(size);
        }
        return ModelInferRequest.newBuilder().setModelName(model).addInputs(input).addRawInputContents(content);
    }

    private static ServerErrorException wrong(String given) {
        return new ServerErrorException("the server sent " + given, null);
    }

    private static String hex(byte value) {
        return String.format("%02x", value);
    }
}
