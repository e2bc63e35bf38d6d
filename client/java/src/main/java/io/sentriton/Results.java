package io.sentriton;

import java.nio.FloatBuffer;

/** The result of a call: ordered, truncated, then normalized. */
abstract class Results<T> {
    /** Creates the results of a number of sentences. */
    interface Form<T> {
        Results<T> create(int total, int dimension, boolean normalize);
    }

    final int dimension;
    private final boolean normalize;

    private Results(int dimension, boolean normalize) {
        this.dimension = dimension;
        this.normalize = normalize;
    }

    /** The array for the vector of a sentence. */
    abstract float[] array(int index);

    /** The position of its first number in that array. */
    abstract int start(int index);

    abstract T finish();

    /** Puts the rows of an answer, [rows, modelDimension], where their sentences are. */
    void collect(int[] indices, FloatBuffer answer, int modelDimension) {
        for (int row = 0; row < indices.length; row++) {
            float[] array = array(indices[row]);
            int start = start(indices[row]);
            answer.position(row * modelDimension).get(array, start, dimension);
            if (normalize) {
                Similarity.normalize(array, start, dimension);
            }
        }
    }

    /** One array for each sentence. */
    static Results<float[][]> rows(int total, int dimension, boolean normalize) {
        float[][] rows = new float[total][];
        return new Results<>(dimension, normalize) {
            @Override
            float[] array(int index) {
                rows[index] = new float[dimension];
                return rows[index];
            }

            @Override
            int start(int index) {
                return 0;
            }

            @Override
            float[][] finish() {
                return rows;
            }
        };
    }

    /** The array of the only sentence. */
    static Results<float[]> single(int total, int dimension, boolean normalize) {
        float[] row = new float[dimension];
        return new Results<>(dimension, normalize) {
            @Override
            float[] array(int index) {
                return row;
            }

            @Override
            int start(int index) {
                return 0;
            }

            @Override
            float[] finish() {
                return row;
            }
        };
    }

    /** One array for all sentences. */
    static Results<Embeddings> flat(int total, int dimension, boolean normalize) {
        if ((long) total * dimension > Integer.MAX_VALUE) {
            throw Errors.invalid(total + " vectors of " + dimension + " numbers are too many for one array of "
                    + Integer.MAX_VALUE + "; use encode, or several calls");
        }
        float[] values = new float[total * dimension];
        return new Results<>(dimension, normalize) {
            @Override
            float[] array(int index) {
                return values;
            }

            @Override
            int start(int index) {
                return index * dimension;
            }

            @Override
            Embeddings finish() {
                return new Embeddings(values, total, dimension);
            }
        };
    }
}
