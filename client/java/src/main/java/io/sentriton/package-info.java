/**
 * Sentence embeddings over gRPC: the client of a Sentriton server. The entrance is
 * {@link io.sentriton.SentenceEncoder}. Parameters and results are not null unless they are marked {@code @Nullable}.
 */
@NullMarked
package io.sentriton;

import org.jspecify.annotations.NullMarked;
