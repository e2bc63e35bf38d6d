package io.sentriton;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * Small calls of one encoder that wait at the same time share a request. While fewer joined requests are in flight than
 * allowed, a call leaves at once; else it waits until one ends. All methods run in the session's thread.
 */
final class Joiner {
    /** Sentences of a small call; a call of more fills a good part of a request by itself. */
    static final int SMALL = 8;

    /** Characters of all calls of a request: tokenizing more would hold up the others. */
    static final int LONGEST = 65_536;

    private final Session session;
    private final Window window;
    private final Set<Member> waiting = new LinkedHashSet<>(); // in the order of their turns
    private final Deque<Joint> resuming = new ArrayDeque<>(); // retries that are due
    private int inFlight;

    Joiner(Session session) {
        this.session = session;
        this.window = Window.ofJoined(session.settings.addresses, session.settings.maxInFlight);
    }

    /** A call waits for a request. */
    void enter(Member member) {
        waiting.add(member);
        sendAll();
    }

    /** A call ends, with or without an answer. */
    void leave(Member member) {
        waiting.remove(member);
        if (member.joint != null) {
            member.joint.leave(member);
        }
    }

    /**
     * The request of these calls failed, and any may be the cause: each waits for a request of its own, before all
     * others. They leave when the request gives its place back.
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

    /** Whether a retry that is due may go; if not, it goes when a request ends. */
    boolean admits(Joint joint) {
        if (inFlight < window.limit()) {
            inFlight += 1;
            return true;
        }
        resuming.add(joint);
        return false;
    }

    /** A joined request ended, or pauses before its retry. */
    void released() {
        inFlight -= 1;
        // Later: the request that ended tells its calls first, and they may call again.
        session.soon(this::sendAll);
    }

    /** No call waits for this request any more. */
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

    /** The calls of the next request: the first one, and all others that may be in it. */
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
