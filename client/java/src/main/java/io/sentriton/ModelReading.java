package io.sentriton;

/** A caller's request for the manifest. */
final class ModelReading extends Task<Manifest> {
    ModelReading(Session session) {
        super(session);
    }

    @Override
    void begin() {
        session.info().whenComplete((manifest, error) -> {
            if (error == null) {
                complete(manifest);
            } else {
                fail(error);
            }
        });
    }
}
