package io.sentriton;

/** The result of a health check that passed. */
public final class HealthReport {
    private final Manifest manifest;
    private final double minCosine;

    HealthReport(Manifest manifest, double minCosine) {
        this.manifest = manifest;
        this.minCosine = minCosine;
    }

    /**
     * The served model.
     *
     * @return its manifest
     */
    public Manifest manifest() {
        return manifest;
    }

    /**
     * The smallest cosine of a vector of the server to its golden vector.
     *
     * @return a number from -1 to 1
     */
    public double minCosine() {
        return minCosine;
    }
}
