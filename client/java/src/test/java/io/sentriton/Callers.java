package io.sentriton;

import com.google.gson.Gson;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.DoubleAccumulator;

/**
 * 64 callers, each with one sentence per call. Arguments: URL CALLS [SECONDS]. Every caller makes CALLS calls, and more
 * until SECONDS are over. The program writes "answered" with the 64th answer. Its last line is JSON: the number of
 * calls, the failures, and the smallest cosine to the golden vectors.
 */
final class Callers {
    private static final int CALLERS = 64;

    private Callers() {}

    public static void main(String[] arguments) throws InterruptedException {
        int calls = Integer.parseInt(arguments[1]);
        double seconds = arguments.length > 2 ? Double.parseDouble(arguments[2]) : 0;
        AtomicInteger answers = new AtomicInteger();
        ConcurrentLinkedQueue<String> failures = new ConcurrentLinkedQueue<>();
        DoubleAccumulator minCosine = new DoubleAccumulator(Math::min, 1);
        ExecutorService threads = Executors.newFixedThreadPool(CALLERS);
        try (SentenceEncoder encoder =
                SentenceEncoder.builder().url(arguments[0]).timeout(Duration.ofSeconds(60)).build()) {
            encoder.info();
            double end = Clock.now() + seconds;
            for (int caller = 0; caller < CALLERS; caller++) {
                String text = Conformance.FILE.texts.get(caller);
                float[] expected = Conformance.FILE.vectors.get(caller);
                threads.execute(() -> {
                    for (int call = 0; call < calls || Clock.now() < end; call++) {
                        try {
                            minCosine.accumulate(Similarity.cosine(expected, encoder.encode(text)));
                        } catch (SentritonException error) {
                            failures.add(error.toString());
                        }
                        if (answers.incrementAndGet() == CALLERS) {
                            System.out.println("answered");
                        }
                    }
                });
            }
            threads.shutdown();
            threads.awaitTermination(5, TimeUnit.MINUTES);
        }
        System.out.println(new Gson().toJson(Map.of(
                "calls", answers.get(), "failures", List.copyOf(failures), "minCosine", minCosine.get())));
    }
}
