package io.sentriton;

import io.sentriton.internal.inference.ModelInferRequest;
import io.sentriton.internal.inference.ModelInferResponse;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import org.jspecify.annotations.Nullable;

/**
 * One call of {@code encode}: its sentences, its requests or its joined request, and the result. All methods but the
 * constructor run in the session's thread.
 */
final class Call<T> extends Task<T> {
    private static final int MODEL_CHANGES_A_CALL = 3; // servers that keep different models are no roll-out

    private final Deadline deadline;
    private final String[] texts;
    private final int[] order;
    private final EncodeOptions options;
    private final List<String> preferredPrompts;
    private final Results.Form<T> form;
    private int changes;
    private Runnable stop = () -> {};
    private @Nullable ScheduledFuture<?> timer;

    /** {@code deadline} started before the sentences were read. */
    Call(
            Session session,
            Deadline deadline,
            String[] texts,
            EncodeOptions options,
            List<String> preferredPrompts,
            Results.Form<T> form) {
        super(session);
        this.deadline = deadline;
        this.texts = texts;
        this.order = RequestPlan.longestFirst(texts);
        this.options = options;
        this.preferredPrompts = preferredPrompts;
        this.form = form;
    }

    @Override
    void begin() {
        if (!session.isReading() && deadline.over(Clock.now())) {
            fail(exceeded());
            return;
        }
        CompletableFuture<Manifest> model = session.info();
        if (!model.isDone()) {
            wakeAt(deadline.end(), () -> fail(exceeded()));
        }
        model.whenComplete((manifest, error) -> {
            if (error != null) {
                fail(error);
            } else if (!hasEnded()) {
                deadline.moved(Clock.now());
                guarded(() -> send(manifest, model));
            }
        });
    }

    @Override
    void end() {
        stop.run();
        stop = () -> {};
        if (timer != null) {
            timer.cancel(false);
        }
    }

    private void send(Manifest manifest, CompletableFuture<Manifest> model) {
        String prompt = Prompts.resolve(manifest, options, preferredPrompts);
        int most = manifest.maxBatchSize();
        int batchSize = options.batchSize == null ? most : options.batchSize;
        int maxRows = Math.min(Arguments.wholeNumber("batchSize", batchSize, Integer.MAX_VALUE), most);
        int truncateDim = options.truncateDim == null ? manifest.dimension() : options.truncateDim;
        int dimension = Arguments.wholeNumber("truncateDim", truncateDim, manifest.dimension());
        Results<T> results = form.create(texts.length, dimension, options.normalizeEmbeddings);
        RequestPlan plan = new RequestPlan(texts, order, prompt, maxRows, manifest.maxSeqLength());
        RequestRows first = plan.next();
        if (timer != null) {
            timer.cancel(false);
        }
        boolean whole = first != null && first.indices.length == texts.length;
        boolean small = texts.length <= Joiner.SMALL && texts.length < maxRows;
        if (whole && small && first.textBytes() <= Joiner.BYTES_PER_JOINED_REQUEST) {
            new Joined(manifest, model, results, first, maxRows).enter();
        } else {
            new Own(manifest, model, results, first, plan).start();
        }
    }

    private void failed(Throwable error, CompletableFuture<Manifest> model) {
        boolean changed = error instanceof ContractMismatchException;
        boolean reload = session.settings.onModelChange == OnModelChange.RELOAD;
        if (!changed || !reload || ++changes > MODEL_CHANGES_A_CALL) {
            fail(error);
            return;
        }
        end();
        session.forget(model);
        guarded(this::begin);
    }

    private DeadlineExceededException exceeded() {
        return deadline.exceeded(session.endpoints.url());
    }

    private void wakeAt(double time, Runnable task) {
        if (timer != null) {
            timer.cancel(false);
        }
        timer = session.later(task, time - Clock.now());
    }

    /** The call sends separate requests. */
    private final class Own implements Dispatcher.Owner {
        private final Manifest manifest;
        private final CompletableFuture<Manifest> model;
        private final Results<T> results;
        private final Window window = session.window.anew();
        private final Dispatcher dispatcher;
        private @Nullable RequestRows first;

        Own(
                Manifest manifest,
                CompletableFuture<Manifest> model,
                Results<T> results,
                @Nullable RequestRows first,
                RequestPlan plan) {
            this.manifest = manifest;
            this.model = model;
            this.results = results;
            this.first = first;
            Course course = new Course(
                    () -> next(plan), texts.length, deadline, window, session.budget, session.endpoints);
            dispatcher = new Dispatcher(session, course, this);
        }

        void start() {
            stop = () -> {
                dispatcher.stop();
                session.window = window;
            };
            dispatcher.step();
        }

        private @Nullable RequestRows next(RequestPlan plan) {
            RequestRows rows = first;
            first = null;
            return rows == null ? plan.next() : rows;
        }

        @Override
        public ModelInferRequest request(Attempt.Sending sending, double timeS) {
            RequestRows rows = sending.attempt.rows;
            return Protocol.textRequest(
                    rows.content, rows.indices.length, manifest.fingerprint(), session.settings.priority, timeS);
        }

        @Override
        public void collect(Attempt.Sending sending, ModelInferResponse response) {
            int[] indices = sending.attempt.rows.indices;
            int dimension = manifest.dimension();
            FloatBuffer answer = Protocol.readSentenceEmbedding(response, indices.length, dimension);
            results.collect(indices, answer, dimension);
        }

        @Override
        public SentritonException named(Attempt.Sending sending, SentritonException error) {
            return Errors.namingSentence(error, sending.attempt.rows.indices);
        }

        @Override
        public void finished() {
            complete(results.finish());
        }

        @Override
        public void failed(Throwable error) {
            Call.this.failed(error, model);
        }
    }

    /** The call joins a request. */
    private final class Joined implements Member.Caller {
        private final CompletableFuture<Manifest> model;
        private final Results<T> results;
        private final Member member;

        Joined(
                Manifest manifest,
                CompletableFuture<Manifest> model,
                Results<T> results,
                RequestRows rows,
                int maxRows) {
            this.model = model;
            this.results = results;
            this.member = new Member(manifest, rows, maxRows, deadline, this);
        }

        void enter() {
            stop = () -> session.joiner.leave(member);
            look();
            if (!result.isDone()) {
                session.joiner.enter(member);
            }
        }

        /** The request has the deadline of all its calls, so this call watches its own. */
        private void look() {
            double now = Clock.now();
            deadline.looked(now);
            if (deadline.over(now)) {
                SentritonException last = member.lastFailure();
                failed(last == null ? exceeded() : last);
                return;
            }
            wakeAt(now + Math.min(Deadline.LOOK_EVERY_S, deadline.time() - now), this::look);
        }

        @Override
        public void embedded(FloatBuffer rows) {
            guarded(() -> {
                results.collect(member.rows.indices, rows, member.manifest.dimension());
                complete(results.finish());
            });
        }

        @Override
        public void failed(SentritonException error) {
            String progress = texts.length == 1
                    ? ""
                    : String.format(Locale.ROOT, " (0 of %,d sentences were embedded)", texts.length);
            SentritonException named = Errors.namingSentence(error, member.rows.indices);
            Call.this.failed(Errors.renew(named, named.getMessage() + progress), model);
        }
    }
}
