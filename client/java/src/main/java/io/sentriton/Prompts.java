package io.sentriton;

import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The prompt of a call. */
final class Prompts {
    /** For {@code encode}: the manifest's default. */
    static final List<String> NONE = List.of();

    static final List<String> QUERY = List.of("query");
    static final List<String> DOCUMENT = List.of("document", "passage", "corpus");

    private Prompts() {}

    /** The text before every sentence: the caller's, else the first of {@code preferred} that exists. */
    static String resolve(Manifest manifest, EncodeOptions options, List<String> preferred) {
        String text = options.prompt;
        if (text == null) {
            text = named(manifest, options.promptName, preferred);
        }
        Arguments.unicode("prompt", text);
        if (!text.isEmpty() && !manifest.includePrompt()) {
            throw Errors.invalid("prompt is " + Arguments.shown(text) + "; this model leaves prompts out of pooling, "
                    + "which only the Python client supports; allowed is \"\"");
        }
        return text;
    }

    private static String named(
            Manifest manifest, @Nullable String given, List<String> preferred) {
        String name = given;
        if (name == null) {
            name = preferred.stream()
                    .filter(manifest.prompts()::containsKey)
                    .findFirst()
                    .orElse(manifest.defaultPromptName());
        }
        if (name == null) {
            return "";
        }
        String text = manifest.prompts().get(name);
        if (text != null) {
            return text;
        }
        String known = manifest.prompts().keySet().stream().map(Arguments::shown).collect(Collectors.joining(", "));
        throw Errors.invalid("promptName is " + Arguments.shown(name) + "; the model's prompts are "
                + (known.isEmpty() ? "none" : known));
    }
}
