// Ranks sentences by their similarity to a query. The server is $SENTRITON_URL, else localhost:8001.
//
//     java -cp $(cat target/classpath):target/sentriton-client-0.2.0.jar examples/Rank.java QUERY SENTENCE SENTENCE ...

import io.sentriton.SentenceEncoder;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

public class Rank {
    public static void main(String[] arguments) {
        List<String> sentences = Arrays.asList(arguments).subList(1, arguments.length);
        try (SentenceEncoder encoder = SentenceEncoder.fromEnvironment()) {
            float[][] query = {encoder.encodeQuery(arguments[0])};
            float[] scores = encoder.similarity(query, encoder.encodeDocument(sentences))[0];
            IntStream.range(0, scores.length)
                    .boxed()
                    .sorted(Comparator.comparing(place -> -scores[place]))
                    .forEach(place -> System.out.printf("%.3f %s%n", scores[place], sentences.get(place)));
        }
    }
}
