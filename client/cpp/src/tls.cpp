#include "tls.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "failure.hpp"

namespace sentriton {

namespace {

std::string read_file(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    std::string content{std::istreambuf_iterator<char>(stream), {}};
    if (!stream) {
        const std::string reason = std::strerror(errno);
        raise(invalid_input("cannot read the certificate file " + file + ": " + reason +
                            "; give the path of a PEM file"));
    }
    return content;
}

bool has(const std::string& content, const char* words) { return content.find(words) != std::string::npos; }

std::string read_certificates(const std::string& file, const std::string& what) {
    std::string content = read_file(file);
    if (!has(content, "-----BEGIN CERTIFICATE-----")) {
        raise(invalid_input("the " + what + " " + file + " have no certificate; give a PEM file of certificates"));
    }
    return content;
}

}  // namespace

grpc::SslCredentialsOptions tls_options(const CheckedSettings& settings) {
    grpc::SslCredentialsOptions options;
    if (!settings.root_certificates.empty()) {
        options.pem_root_certs = read_certificates(settings.root_certificates, "root certificates");
    }
    if (!settings.client_certificate.empty()) {
        options.pem_cert_chain = read_certificates(settings.client_certificate, "client certificate");
        options.pem_private_key = read_file(settings.client_key);
        if (!has(options.pem_private_key, "PRIVATE KEY-----")) {
            raise(invalid_input("the client certificate " + settings.client_certificate + " and the key " +
                                settings.client_key +
                                " do not work: the key file has no private key; give PEM files of one pair"));
        }
    }
    return options;
}

}  // namespace sentriton
