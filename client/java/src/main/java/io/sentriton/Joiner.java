package io.sentriton;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * Joins small calls of one encoder that wait at the same time. While fewer joined requests than the limit are in
 * flight, a call leaves at once. Otherwise it waits until one ends. All methods run in the session's thread.
 */
final class Joiner {
    /** The largest number of sentences of a small call. Larger calls fill requests by themselves. */
    static final int SMALL = 8;

    /** Bytes of UTF-8: the server treats more text as bulk work, which would delay the queries in it. */
    static final int BYTES_PER_JOINED_REQUEST = 1 << 14;

    private final Session session;
    private final Window window;
    private final Set<Member> waiting = new LinkedHashSet<>(); // in the order of their turns
    private final Deque<Joint> resuming = new ArrayDeque<>(); // retries that are due
    private int inFlight;

    Joiner(Session session) {
        this.session = session;
        this.window = Window.ofJoined(session.settings.addresses, session.settings.maxInFlight);
    }

    /** Adds a call that waits for a request. */
    void enter(Member member) {
        waiting.add(member);
        sendAll();
    }

    /** Removes a call, with or without an answer. */
    void leave(Member member) {
        waiting.remove(member);
        if (member.joint != null) {
            member.joint.leave(member);
        }
    }

    /**
     * The request of these calls failed, and any may be the cause. So each waits for a separate request, before all
     * others. They leave when the request releases its place.
     */
    void waitAlone(List<Member> members) {
        List<Member> others = List.copyOf(waiting);
        waiting.clear();
        for (Member member : members) {
            member.alone = true;
            member.joint = null;
            waiting.add(member);
        }
        waiting.addAll(others);
    }

    /** Whether a due retry may leave. If not, it leaves when a request ends. */
    boolean admits(Joint joint) {
        if (inFlight < window.limit()) {
            inFlight += 1;
            return true;
        }
        resuming.add(joint);
        return false;
    }

    /** Records that a joined request ended, or pauses before its retry. */
    void released() {
        inFlight -= 1;
        // Later, since the ended request first notifies its calls, which may call again.
        session.soon(this::sendAll);
    }

    /** No call waits for this request now. */
    void forget(Joint joint) {
        resuming.remove(joint);
    }

    private void sendAll() {
        while (inFlight < window.limit() && !resuming.isEmpty()) {
            resuming.remove().go();
        }
        while (inFlight < window.limit() && !waiting.isEmpty()) {
            inFlight += 1;
            new Joint(this, session, window, gather(Clock.now())).go();
        }
    }

    /** The calls of the next request: the first one, and all others that may join it. */
    private List<Member> gather(double now) {
        Iterator<Member> arrivals = waiting.iterator();
        List<Member> members = listOf(arrivals.next());
        arrivals.remove();
        while (arrivals.hasNext() && members.size() < members.get(0).maxRows) {
            Member next = arrivals.next();
            if (next.joins(members, now)) {
                members.add(next);
                arrivals.remove();
            }
        }
        return members;
    }

    private static List<Member> listOf(Member member) {
        List<Member> members = new ArrayList<>();
        members.add(member);
        return members;
    }
}
