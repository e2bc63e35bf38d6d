package io.sentriton;

import java.util.Arrays;

/** Vectors in one array, row by row: a single allocation, ready for an index or a numeric library. */
public final class Embeddings {
    private final float[] values;
    private final int rows;
    private final int dimension;

    Embeddings(float[] values, int rows, int dimension) {
        this.values = values;
        this.rows = rows;
        this.dimension = dimension;
    }

    /**
     * All numbers: row {@code i} begins at {@code i * dimension()}.
     *
     * @return the array itself, of {@code rows() * dimension()} numbers
     */
    public float[] values() {
        return values;
    }

    /**
     * The number of vectors.
     *
     * @return as many as sentences
     */
    public int rows() {
        return rows;
    }

    /**
     * The length of a vector.
     *
     * @return the model's dimension, or {@code truncateDim}
     */
    public int dimension() {
        return dimension;
    }

    /**
     * The vector of one sentence.
     *
     * @param row the sentence's position, from 0
     * @return a copy of the row
     */
    public float[] row(int row) {
        if (row < 0 || row >= rows) {
            throw new IndexOutOfBoundsException("row is " + row + "; allowed are 0 to " + (rows - 1));
        }
        return Arrays.copyOfRange(values, row * dimension, (row + 1) * dimension);
    }
}
