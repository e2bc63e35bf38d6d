/**
 * Sentence embeddings over gRPC: the client of a Sentriton server. Start with {@link io.sentriton.SentenceEncoder}.
 * Parameters and results are not null unless marked {@code @Nullable}.
 */
@NullMarked
package io.sentriton;

import org.jspecify.annotations.NullMarked;
