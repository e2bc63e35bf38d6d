package io.sentriton;

import java.nio.FloatBuffer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A small call in a joined request: its rows, and their places. */
final class Member {
    /** The call. */
    interface Caller {
        /** Takes the vectors of the call's sentences, row by row. */
        void embedded(FloatBuffer rows);

        /** The request ended early. */
        void failed(SentritonException error);
    }

    private static final double TIMES_APART = 2; // largest factor between the members' remaining times

    final Manifest manifest;
    final RequestRows rows;
    final int maxRows;
    final Deadline deadline;
    final Caller caller;

    /** Whether it needs a separate request, since it may have caused a failure. */
    boolean alone;

    /** Its request; null while it waits for one. */
    @Nullable Joint joint;

    /** Its vectors, once they have arrived. */
    @Nullable FloatBuffer embeddings;

    /** The error of its own rows in an answer. */
    @Nullable ServerErrorException wrong;

    /** {@code rows} has all sentences of the call, {@code maxRows} is the largest number of rows of its request. */
    Member(Manifest manifest, RequestRows rows, int maxRows, Deadline deadline, Caller caller) {
        this.manifest = manifest;
        this.rows = rows;
        this.maxRows = maxRows;
        this.deadline = deadline;
        this.caller = caller;
    }

    /** The last error of its request, if that waits for a retry. */
    @Nullable SentritonException lastFailure() {
        return joint == null ? null : joint.lastFailure();
    }

    /** Whether it may share a request with these. */
    boolean joins(List<Member> others, double now) {
        Member first = others.get(0);
        boolean alike = maxRows == first.maxRows && manifest.fingerprint().equals(first.manifest.fingerprint());
        if (alone || first.alone || !alike) {
            return false;
        }
        double shortest = deadline.leftS(now);
        double longest = shortest;
        int count = rows.indices.length;
        int tokens = rows.tokens;
        int bytes = rows.textBytes();
        for (Member other : others) {
            shortest = Math.min(shortest, other.deadline.leftS(now));
            longest = Math.max(longest, other.deadline.leftS(now));
            count += other.rows.indices.length;
            tokens += other.rows.tokens;
            bytes += other.rows.textBytes();
        }
        boolean inTime = shortest > 0 && longest <= TIMES_APART * shortest;
        boolean fits = count <= maxRows && bytes <= Joiner.BYTES_PER_JOINED_REQUEST && RequestPlan.fits(tokens, bytes);
        return inTime && fits;
    }
}
