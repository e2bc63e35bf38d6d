package io.sentriton;

import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/** The deadline of a joined request: its calls' latest. Each call watches its own. */
final class SharedDeadline extends Deadline {
    private final List<Member> members;

    /** {@code members} is never empty while the request is in flight. */
    SharedDeadline(List<Member> members) {
        super(Double.POSITIVE_INFINITY, Double.POSITIVE_INFINITY, 0);
        this.members = members;
    }

    @Override
    double end() {
        return members.stream().mapToDouble(member -> member.deadline.end()).max().orElse(0);
    }

    @Override
    double time() {
        return members.stream().mapToDouble(member -> member.deadline.time()).max().orElse(0);
    }

    @Override
    void moved(double now) {
        members.forEach(member -> member.deadline.moved(now));
    }

    @Override
    void looked(double now) {
        // Each call does.
    }

    @Override
    DeadlineExceededException exceeded(String url) {
        Comparator<Member> byTime = Comparator.comparingDouble(member -> member.deadline.time());
        return Collections.max(members, byTime).deadline.exceeded(url);
    }
}
