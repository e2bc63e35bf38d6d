package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import java.util.Iterator;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.RepeatedTest;

/** The course of a call, at times of the test's own. */
class CourseTest {
    private static final double END = 1;

    private static Course course(Deadline deadline) {
        Iterator<RequestRows> plan = List.of(new RequestRows(new int[50], ByteString.EMPTY, 0, 0)).iterator();
        Endpoints endpoints = new Endpoints(List.of(new Endpoint(null))); // nothing is sent
        return new Course(
                () -> plan.hasNext() ? plan.next() : null, 50, deadline, new Window(1), new RetryBudget(), endpoints);
    }

    private static @Nullable SentritonException fails(Course course, SentritonException error, double now) {
        try {
            course.failed(Objects.requireNonNull(course.next(now)), error, now);
            return null;
        } catch (SentritonException last) {
            return last;
        }
    }

    private static void endsWithTheLastErrorBeforeAPauseThatIsTooLong(Deadline deadline, SentritonException error) {
        Course course = course(deadline);
        double now = 0;
        double longestPause = 0.1;
        int requests = 1;
        SentritonException last = fails(course, error, now);
        for (; last == null; requests++) {
            double pause = course.waitS(now) + 1e-9;
            now += pause;
            assertTrue(pause <= longestPause + 1e-6 && now < END, pause + " s until " + now + " s");
            longestPause *= 2;
            last = fails(course, error, now);
        }
        assertEquals(error.getClass(), last.getClass());
        assertEquals("no (0 of 50 sentences were embedded)", last.getMessage());
        assertTrue(now + longestPause >= END, "it ended at " + now + " s, and the pause is " + longestPause + " at most");
        assertTrue(requests >= 4, requests + " requests"); // after 0.1, 0.3 and 0.7 s at the latest
    }

    @RepeatedTest(20) // pauses are random
    void theCallEndsBeforeAPauseThatIsLongerThanItsTimeout() {
        Deadline deadline = new Deadline(END, 60, 0);
        endsWithTheLastErrorBeforeAPauseThatIsTooLong(deadline, new ServerUnavailableException("no", null));
    }

    @RepeatedTest(20)
    void theCallEndsBeforeAPauseThatIsLongerThanItsStallTimeout() {
        Deadline deadline = new Deadline(Double.POSITIVE_INFINITY, END, 0);
        endsWithTheLastErrorBeforeAPauseThatIsTooLong(deadline, new OverloadedException("no", null));
    }
}
