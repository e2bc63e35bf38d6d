package io.sentriton;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The settings: builder, environment, defaults. */
class SettingsTest {
    private static Settings settings(SentenceEncoderBuilder given, Map<String, String> variables) {
        return new Settings(given, variables::get);
    }

    private static SentenceEncoderBuilder at(String url) {
        return SentenceEncoder.builder().url(url);
    }

    @Test
    void theBuilderBeatsTheVariableThatBeatsTheDefault() {
        Map<String, String> variables =
                Map.of("SENTRITON_URL", "a:1, b:2", "SENTRITON_TIMEOUT_S", "2.5", "SENTRITON_TLS", "on");
        Settings settings = settings(SentenceEncoder.builder().timeout(Duration.ofSeconds(7)), variables);
        assertEquals(List.of("a:1", "b:2"), settings.addresses);
        assertEquals(7, settings.timeoutS);
        assertTrue(settings.tls);
        assertEquals(2.5, settings(SentenceEncoder.builder(), variables).timeoutS);
        Settings unset = settings(SentenceEncoder.builder(), Map.of("SENTRITON_TIMEOUT_S", ""));
        assertEquals("localhost:8001", unset.url);
        assertEquals(Double.POSITIVE_INFINITY, unset.timeoutS);
        assertEquals(60, unset.stallTimeoutS);
        assertEquals(16, unset.maxInFlight);
        assertEquals(Priority.QUERY, unset.priority);
        assertEquals(OnModelChange.RAISE, unset.onModelChange);
        assertFalse(unset.tls);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "TIMEOUT_S|soon|finite numbers above 0",
                "TIMEOUT_S|0|finite numbers above 0",
                "STALL_TIMEOUT_S|Infinity|finite numbers above 0",
                "MAX_IN_FLIGHT|2.5|whole numbers from 1",
                "TLS|maybe|1, true, yes, on, 0, false, no, off",
                "PRIORITY|fast|query, bulk",
                "ON_MODEL_CHANGE|stop|raise, reload",
            })
    void aWrongVariableIsNamed(String name, String value, String allowed) {
        InvalidInputException error = assertThrows(
                InvalidInputException.class, () -> settings(at("a:1"), Map.of("SENTRITON_" + name, value)));
        assertEquals("$SENTRITON_" + name + " is \"" + value + "\"; allowed are " + allowed, error.getMessage());
    }

    @Test
    void aWrongValueIsNamed() {
        assertSays("timeout is 0 s; allowed are durations above 0", at("a:1").timeout(Duration.ZERO));
        assertSays("stallTimeout is -1.5 s", at("a:1").stallTimeout(Duration.ofMillis(-1500)));
        assertSays("maxInFlight is 0; allowed are whole numbers from 1", at("a:1").maxInFlight(0));
        assertSays("accessKey cannot be sent", at("a:1").accessKey("secret\n"));
        assertSays("clientCertificate and clientKey must be set", at("a:1").clientCertificate(Path.of("a.pem")));
    }

    private static void assertSays(String says, SentenceEncoderBuilder given) {
        InvalidInputException error = assertThrows(InvalidInputException.class, () -> settings(given, Map.of()));
        assertTrue(error.getMessage().startsWith(says), error.getMessage());
        assertFalse(error.getMessage().contains("secret"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "localhost", "http://a:1", "a:0", "a:65536", "a b:1", "::1:80", ","})
    void noAddress(String url) {
        assertSays("url is \"" + url + "\"; give host:port", at(url));
    }

    @Test
    void addresses() {
        Settings settings = settings(at("a:1,[::1]:2,dns:///c.d:3,dns://10.0.0.2:53/e.f:4"), Map.of());
        assertEquals(List.of("a:1", "[::1]:2", "dns:///c.d:3", "dns://10.0.0.2:53/e.f:4"), settings.addresses);
    }

    @Test
    void aCertificateTurnsTlsOn() {
        assertTrue(settings(at("a:1").rootCertificates(Path.of("ca.pem")), Map.of()).tls);
        assertTrue(settings(at("a:1"), Map.of("SENTRITON_ROOT_CERTIFICATES", "ca.pem")).tls);
    }

    @Test
    void aTildeIsTheHomeFolder() {
        SentenceEncoderBuilder given =
                at("a:1").clientCertificate(Path.of("~me/own.pem")).clientKey(Path.of("~/own.key"));
        Map<String, String> variables = Map.of("HOME", "/home/me", "SENTRITON_ROOT_CERTIFICATES", "~/ca.pem");
        Settings settings = settings(given, variables);
        assertEquals(Path.of("/home/me/ca.pem"), settings.rootCertificates);
        assertEquals(Path.of("~me/own.pem"), settings.clientCertificate);
        assertEquals(Path.of("/home/me/own.key"), settings.clientKey);
    }

    @Test
    void aCertificateFileThatCannotBeReadIsNamed() {
        InvalidInputException error = assertThrows(
                InvalidInputException.class, () -> at("a:1").rootCertificates(Path.of("no.pem")).build());
        assertTrue(error.getMessage().startsWith("cannot read certificate file no.pem"), error.getMessage());
    }
}
