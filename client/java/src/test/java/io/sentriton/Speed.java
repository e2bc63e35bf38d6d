package io.sentriton;

import com.google.gson.Gson;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;

/**
 * The rates of one call with a list, and of many callers with one sentence per call, for benchmarks.clients. Arguments:
 * URL CALLERS SECONDS. Standard input has the sentences as JSON. Prints JSON: rates in sentences/s, CPU time in
 * microseconds per sentence.
 */
final class Speed {
    private static final double WARM_UP_S = 1;
    private static final int WARM_UP = 1000; // sentences

    private Speed() {}

    public static void main(String[] arguments) {
        InputStreamReader input = new InputStreamReader(System.in, StandardCharsets.UTF_8);
        List<String> sentences = List.of(new Gson().fromJson(input, String[].class));
        int callers = Integer.parseInt(arguments[1]);
        double seconds = Double.parseDouble(arguments[2]);
        Map<String, Double> figures = new LinkedHashMap<>();
        try (SentenceEncoder encoder = SentenceEncoder.connect(arguments[0])) {
            encoder.encode(sentences.subList(0, Math.min(WARM_UP, sentences.size())));
            long used = cpuNanos();
            double took = Wait.timed(() -> encoder.encode(sentences));
            figures.put("list_per_s", sentences.size() / took);
            figures.put("list_cpu_us", (cpuNanos() - used) / 1e3 / sentences.size());

            LongAdder answers = new LongAdder();
            double end = Clock.now() + WARM_UP_S + seconds;
            List<Thread> threads = call(encoder, sentences, callers, end, answers);
            Wait.s(WARM_UP_S);
            long before = answers.sum();
            used = cpuNanos();
            took = Wait.timed(() -> Wait.s(seconds));
            long count = answers.sum() - before;
            figures.put("single_per_s", count / took);
            figures.put("single_cpu_us", (cpuNanos() - used) / 1e3 / count);
            threads.forEach(Speed::join);
        }
        System.out.println(new Gson().toJson(figures));
    }

    private static List<Thread> call(
            SentenceEncoder encoder, List<String> sentences, int callers, double end, LongAdder answers) {
        List<Thread> threads = new ArrayList<>();
        for (int caller = 0; caller < callers; caller++) {
            int first = 37 * caller;
            Thread thread = new Thread(() -> {
                for (int place = first; Clock.now() < end; place++) {
                    encoder.encode(sentences.get(place % sentences.size()));
                    answers.increment();
                }
            });
            threads.add(thread);
            thread.start();
        }
        return threads;
    }

    private static void join(Thread thread) {
        try {
            thread.join();
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    private static long cpuNanos() {
        java.lang.management.OperatingSystemMXBean system = ManagementFactory.getOperatingSystemMXBean();
        return ((com.sun.management.OperatingSystemMXBean) system).getProcessCpuTime();
    }
}
