"""A server with TLS and an access key, and the errors of callers without them.

    export SENTRITON_ACCESS_KEY=$(openssl rand -hex 32)
    sentriton serve --tls-certificate server.pem --tls-key server.key          # in another terminal, with the same key
    python examples/tls_and_key.py localhost:8001 authority.pem

authority.pem has the certificate of the authority that signed server.pem, or server.pem itself if it signed itself.
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
