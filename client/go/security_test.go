package sentriton

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// certificate writes a certificate of localhost, its own authority, and its key.
func certificate(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, name+".pem"), filepath.Join(folder, name+".key.pem")
	for file, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: raw}, key: {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// startTLS starts a server with a certificate; with clients, it wants certificates of that authority.
func startTLS(t *testing.T, certificate, key, clients string) (host string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients != "" {
		content, _ := os.ReadFile(clients)
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		config.ClientCAs.AppendCertsFromPEM(content)
	}
	server := startSmall(t, grpc.Creds(credentials.NewTLS(config)))
	return strings.Replace(server.address, "127.0.0.1", "localhost", 1)
}

func TestTLS(t *testing.T) {
	server, key := certificate(t, "server")
	stranger, strangersKey := certificate(t, "stranger")
	host := startTLS(t, server, key, "")
	port := strings.TrimPrefix(host, "localhost:")
	for _, options := range [][]Option{
		{WithRootCertificates(server)},
		{WithRootCertificates(server), WithServerName("localhost")},
	} {
		found, err := encode(open(t, host, options...), words[:3])
		wantWords(t, found, err, words[:3])
	}
	found, err := encode(open(t, "127.0.0.1:"+port, WithRootCertificates(server), WithServerName("localhost")), words[:3])
	wantWords(t, found, err, words[:3])
	for url, options := range map[string][]Option{
		host:                {WithRootCertificates(stranger)},
		"dns:///" + host:    {WithTLS(true)},
		"127.0.0.1:" + port: {WithRootCertificates(server)},
	} {
		wantTime(t, 0, soon, func() {
			_, err := encode(open(t, url, options...), words[:3])
			wantError(t, err, ErrAccessDenied, "^no access to "+url+": .*certificate")
		})
	}

	mutual := startTLS(t, server, key, stranger)
	trusted := WithRootCertificates(server)
	found, err = encode(open(t, mutual, trusted, WithClientCertificate(stranger, strangersKey)), words[:3])
	wantWords(t, found, err, words[:3])
	for _, options := range [][]Option{{trusted, WithClientCertificate(server, key)}, {trusted}} {
		_, err = encode(open(t, mutual, options...), words[:3])
		// The server closes the connection after its reason, and gRPC reports the one that it sees first.
		if !errors.Is(err, ErrAccessDenied) && !errors.Is(err, ErrServerUnavailable) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestCertificateFilesThatAreWrong(t *testing.T) {
	certificate, key := certificate(t, "server")
	noPEM := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(noPEM, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for says, option := range map[string]Option{
		`cannot read the certificate file no\.pem`:         WithRootCertificates("no.pem"),
		`empty\.pem have no certificate; give a PEM file`:  WithRootCertificates(noPEM),
		`server\.pem and the key .*empty\.pem do not work`: WithClientCertificate(certificate, noPEM),
		`must be set together`:                             WithClientCertificate("", key),
	} {
		_, err := New("localhost:1", option)
		wantError(t, err, ErrInvalidInput, says)
	}
}

func TestAccessKey(t *testing.T) {
	server := startSmall(t)
	_, err := open(t, server.address, WithAccessKey("a key")).EncodeOne(context.Background(), "w1")
	if sent := server.headers[0].Get(accessHeader); err != nil || len(sent) != 1 || sent[0] != "a key" {
		t.Errorf("the header is %q, the error %v", sent, err)
	}
	server.refuse = always(status.Error(codes.Unavailable, // in Triton's own words
		"This protocol is restricted, expecting header 'triton-grpc-protocol-access-key'"))
	_, err = open(t, server.address).EncodeOne(context.Background(), "w1")
	wantError(t, err, ErrAccessDenied, "give the server's key by WithAccessKey or \\$SENTRITON_ACCESS_KEY")
	_, err = New("localhost:1", WithAccessKey("secret\n"))
	wantError(t, err, ErrInvalidInput, "^the access key cannot be sent; allowed are printable ASCII characters")
}
