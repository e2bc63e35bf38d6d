package io.sentriton;

/** The server's lanes for callers. */
public enum Priority {
    /** The lane of requests with a waiting user. */
    QUERY("query"),
    /** The lane whose requests wait for those of the other. */
    BULK("bulk");

    final String lane;

    Priority(String lane) {
        this.lane = lane;
    }
}
