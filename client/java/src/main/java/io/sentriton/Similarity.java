package io.sentriton;

import java.util.Arrays;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.stream.Collectors;

/** Scores between embeddings, as sentence-transformers defines them: higher is more similar. */
final class Similarity {
    private static final double LEAST_LENGTH = 1e-12;

    private Similarity() {}

    /** Scores every row of the first against every row of the second: [n, d] and [m, d] to [n, m]. */
    static float[][] scores(Manifest.SimilarityFunction function, float[][] first, float[][] second) {
        SortedSet<Integer> dimensions = new TreeSet<>();
        Arrays.stream(first).forEach(row -> dimensions.add(row.length));
        Arrays.stream(second).forEach(row -> dimensions.add(row.length));
        if (dimensions.size() > 1) {
            String given = dimensions.stream().map(String::valueOf).collect(Collectors.joining(" and "));
            throw Errors.invalid("embeddings of " + given + " dimensions cannot be compared: these must be equal; use "
                    + "vectors of one model, with one truncateDim");
        }
        float[][] scores = new float[first.length][second.length];
        for (int row = 0; row < first.length; row++) {
            for (int column = 0; column < second.length; column++) {
                scores[row][column] = (float) score(function, first[row], second[column]);
            }
        }
        return scores;
    }

    private static double score(Manifest.SimilarityFunction function, float[] a, float[] b) {
        switch (function) {
            case DOT:
                return dot(a, b);
            case EUCLIDEAN:
                return -Math.sqrt(squaredDistance(a, b));
            case MANHATTAN:
                return -distance(a, b);
            default:
                return cosine(a, b);
        }
    }

    /** Cosine of the angle; 0 with a row of zeros. */
    static double cosine(float[] a, float[] b) {
        return dot(a, b) / (Math.max(length(a), LEAST_LENGTH) * Math.max(length(b), LEAST_LENGTH));
    }

    /** Scales the numbers from {@code start} on to length 1. */
    static void normalize(float[] values, int start, int count) {
        double squares = 0;
        for (int place = start; place < start + count; place++) {
            squares += (double) values[place] * values[place];
        }
        double length = Math.max(Math.sqrt(squares), LEAST_LENGTH);
        for (int place = start; place < start + count; place++) {
            values[place] = (float) (values[place] / length);
        }
    }

    private static double length(float[] row) {
        return Math.sqrt(dot(row, row));
    }

    private static double dot(float[] a, float[] b) {
        double sum = 0;
        for (int place = 0; place < a.length; place++) {
            sum += (double) a[place] * b[place];
        }
        return sum;
    }

    private static double squaredDistance(float[] a, float[] b) {
        double sum = 0;
        for (int place = 0; place < a.length; place++) {
            double difference = (double) a[place] - b[place];
            sum += difference * difference;
        }
        return sum;
    }

    private static double distance(float[] a, float[] b) {
        double sum = 0;
        for (int place = 0; place < a.length; place++) {
            sum += Math.abs((double) a[place] - b[place]);
        }
        return sum;
    }
}
