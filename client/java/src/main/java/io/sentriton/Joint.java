package io.sentriton;

import com.google.protobuf.ByteString;
import io.sentriton.internal.inference.ModelInferRequest;
import io.sentriton.internal.inference.ModelInferResponse;
import java.nio.FloatBuffer;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A joined request. It is sent and retried as one, with the remaining calls. */
final class Joint implements Dispatcher.Owner {
    private final Joiner joiner;
    private final Session session;
    private final List<Member> members;
    private final Course course;
    private final Dispatcher dispatcher;
    private final Map<Attempt.Sending, List<Member>> carried = new HashMap<>();
    private final boolean shared;
    private boolean inFlight = true; // it counts as one of the joiner's requests

    Joint(Joiner joiner, Session session, Window window, List<Member> members) {
        this.joiner = joiner;
        this.session = session;
        this.members = members;
        this.shared = members.size() > 1;
        members.forEach(member -> member.joint = this);
        // The course has one row, the request, whose content is built at sending.
        long characters = members.stream().mapToLong(member -> member.rows.characters).sum();
        Iterator<RequestRows> plan = List.of(new RequestRows(new int[1], ByteString.EMPTY, 0, characters)).iterator();
        this.course = new Course(
                () -> plan.hasNext() ? plan.next() : null,
                1,
                new SharedDeadline(members),
                window,
                session.budget,
                session.endpoints);
        this.dispatcher = new Dispatcher(session, course, this);
    }

    /** Sends it, or its retry. */
    void go() {
        dispatcher.step();
    }

    /** The error of the last attempt, if it waits for a retry. */
    @Nullable SentritonException lastFailure() {
        return course.lastFailure();
    }

    /** Removes a call before its answer. Cancels the request after the last one. */
    void leave(Member member) {
        members.remove(member);
        if (members.isEmpty()) {
            dispatcher.stop();
            release();
            joiner.forget(this);
        }
    }

    @Override
    public ModelInferRequest request(Attempt.Sending sending, double timeS) {
        List<Member> now = List.copyOf(members);
        carried.put(sending, now);
        ByteString content = ByteString.copyFrom(() -> now.stream().map(member -> member.rows.content).iterator());
        int rows = now.stream().mapToInt(member -> member.rows.indices.length).sum();
        String fingerprint = now.get(0).manifest.fingerprint();
        return Protocol.textRequest(content, rows, fingerprint, session.settings.priority, timeS);
    }

    @Override
    public void collect(Attempt.Sending sending, ModelInferResponse response) {
        List<Member> asked = Objects.requireNonNull(carried.get(sending));
        int dimension = asked.get(0).manifest.dimension();
        int rows = asked.stream().mapToInt(member -> member.rows.indices.length).sum();
        FloatBuffer answer = Protocol.readForm(response, rows, dimension);
        int start = 0;
        for (Member member : asked) {
            int size = member.rows.indices.length * dimension;
            FloatBuffer own = answer.position(start).limit(start + size).slice();
            answer.clear();
            start += size;
            if (members.contains(member)) {
                give(member, own, sending.endpoint.connection.address());
            }
        }
    }

    private static void give(Member member, FloatBuffer rows, String address) {
        try {
            Protocol.checkFinite(rows, member.manifest.dimension());
            member.embeddings = rows;
        } catch (ServerErrorException error) {
            member.wrong = Dispatcher.wrongAnswer(address, error);
        }
    }

    @Override
    public void pauses() {
        release();
    }

    @Override
    public boolean mayResume() {
        inFlight = inFlight || joiner.admits(this);
        return inFlight;
    }

    @Override
    public void finished() {
        release();
        for (Member member : List.copyOf(members)) {
            if (member.wrong == null) {
                member.caller.embedded(Objects.requireNonNull(member.embeddings));
            } else {
                member.caller.failed(member.wrong);
            }
        }
    }

    @Override
    public void failed(Throwable error) {
        release();
        if (shared && mayBeOfOne(error)) {
            joiner.waitAlone(members);
            return;
        }
        for (Member member : List.copyOf(members)) {
            member.caller.failed(
                    error instanceof SentritonException
                            ? Errors.renew((SentritonException) error, String.valueOf(error.getMessage()))
                            : Errors.fault(error));
        }
    }

    /** Whether one of the calls may be the cause, because the server rejected the request. */
    private static boolean mayBeOfOne(Throwable error) {
        boolean ofRequest = error instanceof InvalidInputException || error instanceof ServerErrorException;
        boolean received = error instanceof SentritonException && ((SentritonException) error).getStatus() != null;
        return ofRequest && received && !(error instanceof ContractMismatchException);
    }

    private void release() {
        if (inFlight) {
            inFlight = false;
            joiner.released();
        }
    }
}
