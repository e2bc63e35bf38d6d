// TLS and the access key.

#include "certificates.hpp"
#include "checks.hpp"
#include "small_server.hpp"

namespace sentriton {

std::shared_ptr<grpc::ServerCredentials> credentials_of(const Certificate& own, const Certificate* clients) {
    grpc::SslServerCredentialsOptions options(clients == nullptr
                                                  ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                  : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_key_cert_pairs.push_back({own.key, own.certificate});
    if (clients != nullptr) {
        options.pem_root_certs = clients->certificate;
    }
    return grpc::SslServerCredentials(options);
}

Settings trusting(const Certificate& authority) {
    Settings settings;
    settings.root_certificates = authority.certificate_file;
    return settings;
}

TEST(Security, TheServersCertificateIsChecked) {
    const Folder folder;
    const Certificate own(folder, "server");
    const Certificate stranger(folder, "stranger");
    SmallServer server(credentials_of(own, nullptr));
    expect_words(SentenceEncoder("localhost:" + std::to_string(server.port()), trusting(own)).encode(words(3)),
                 words(3));
    // By address: localhost is ::1 as well, where nothing listens, and gRPC may report this refusal instead.
    const auto named = [](Settings settings) {
        settings.server_name = "localhost";
        return settings;
    };
    expect_words(SentenceEncoder(server.address(), named(trusting(own))).encode(words(3)), words(3));
    Settings of_system;
    of_system.tls = true;
    const std::string untrusted = "no authority that this client trusts signed the server's certificate";
    const std::vector<std::tuple<std::string, Settings, std::string>> wrong = {
        {server.address(), named(trusting(stranger)), untrusted},
        {"dns:///" + server.address(), named(of_system), untrusted},
        {server.address(), trusting(own), "the server's certificate has another name; give that as server_name"}};
    for (const auto& [url, settings, says] : wrong) {
        expect_time(0s, soon, [&, url = url, settings = settings, says = says] {
            expect_error<AccessDenied>([&] { SentenceEncoder(url, settings).encode(words(3)); },
                                       "^no access to " + url + ": " + says);
        });
    }
}

TEST(Security, TheClientsCertificateIsChecked) {
    const Folder folder;
    const Certificate own(folder, "server");
    const Certificate known(folder, "client");
    SmallServer server(credentials_of(own, &known));
    const std::string host = "localhost:" + std::to_string(server.port());
    const auto with = [&](const Certificate* one) {
        Settings settings = trusting(own);
        settings.timeout = 5s;
        if (one != nullptr) {
            settings.client_certificate = one->certificate_file;
            settings.client_key = one->key_file;
        }
        return SentenceEncoder(host, settings).encode(words(3));
    };
    expect_words(with(&known), words(3));
    for (const Certificate* wrong : std::vector<const Certificate*>{&own, nullptr}) {
        // The server closes the connection after its reason, and gRPC reports the one that it sees first.
        EXPECT_THROW(with(wrong), SentritonError);
    }
}

TEST(Security, CertificateFilesThatAreWrongAreRefused) {
    const Folder folder;
    const Certificate own(folder, "server");
    const std::string empty = folder.write("empty.pem", "");
    const auto refused = [](const Settings& settings, const std::string& says) {
        expect_error<InvalidInput>([&] { SentenceEncoder("localhost:1", settings); }, says);
    };
    Settings settings;
    settings.root_certificates = "no.pem";
    refused(settings,
            "^cannot read the certificate file no.pem: No such file or directory; give the path of a PEM file$");
    settings.root_certificates = empty;
    refused(settings, "empty.pem have no certificate; give a PEM file of certificates$");
    settings = {};
    settings.client_certificate = own.certificate_file;
    refused(settings, "must be set together");
    settings.client_key = empty;
    refused(settings, "server.pem and the key .*empty.pem do not work");
}

TEST(Security, TheAccessKeyIsSentAndNeverShown) {
    SmallServer server;
    Settings settings;
    settings.access_key = "a key";
    expect_word(SentenceEncoder(server.address(), settings).encode_one("w1"), "w1");
    EXPECT_EQ(server.with([](auto& state) { return state.keys.at(0); }), "a key");
    server.refuse(always({grpc::StatusCode::UNAVAILABLE,  // in Triton's own words
                          "This protocol is restricted, expecting header 'triton-grpc-protocol-access-key'"}));
    expect_error<AccessDenied>([&] { SentenceEncoder(server.address()).encode_one("w1"); },
                               "give the server's key by access_key or \\$SENTRITON_ACCESS_KEY$");
    for (const char* wrong : {"secret\n", " secret", "secr\xc3\xa9t"}) {
        settings.access_key = wrong;
        expect_error<InvalidInput>([&] { SentenceEncoder("localhost:1", settings); },
                                   "^the access key cannot be sent; allowed are printable ASCII characters");
    }
}

}  // namespace sentriton
