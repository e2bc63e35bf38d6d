"""A server with TLS and an access key, and the errors of callers without them.

    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout server.key -out server.pem -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1
    export SENTRITON_ACCESS_KEY=$(openssl rand -hex 32)
    sentriton serve --tls-certificate server.pem --tls-key server.key          # in another terminal, with the same key
    python examples/tls_and_key.py localhost:8001 server.pem

The certificate is self-signed, so it is its own authority. For another certificate, give the file of its authority.
"""

from __future__ import annotations

import sys

from sentriton import SentenceEncoder, SentritonError

url, root_certificates = sys.argv[1:]

# The key comes from $SENTRITON_ACCESS_KEY.
with SentenceEncoder(url, root_certificates=root_certificates, timeout_s=30) as encoder:
    print(f"{encoder.manifest.name} embeds: {encoder.encode('숙소가 역에서 가까워요.').shape}")

try:
    SentenceEncoder(url, root_certificates=root_certificates, access_key="wrong", timeout_s=30)
except SentritonError as error:
    print(f"with a wrong key: {type(error).__name__}")
try:
    SentenceEncoder(url, timeout_s=30)
except SentritonError as error:
    print(f"without TLS: {type(error).__name__}")
