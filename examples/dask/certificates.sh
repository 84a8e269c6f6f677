#!/bin/sh
# Makes an authority for one cluster, and a certificate and key for each of its hosts, in the current folder:
#
#     certificates.sh scheduler.example.org node1.example.org node2.example.org
#
# Call it again, in the same folder, with the names of hosts that join later. Every host needs ca.pem and its
# own HOST.pem and HOST.key. Keep ca.key off the hosts: Dask trusts whatever the authority has signed, so everybody
# who has it, or any host's key, can run programs on every node. Use the authority for nothing else.
set -eu
umask 077
days=365
[ $# -gt 0 ] || { echo "usage: certificates.sh HOST..." >&2; exit 2; }

if [ ! -e ca.key ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj "/CN=hashscan cluster" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.pem 2>/dev/null
fi

for host; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$host" \
    -keyout "$host.key" -out "$host.csr" 2>/dev/null
  printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
    "extendedKeyUsage=serverAuth,clientAuth" "subjectAltName=DNS:$host" "authorityKeyIdentifier=keyid" >"$host.ext"
  openssl x509 -req -in "$host.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$days" \
    -extfile "$host.ext" -out "$host.pem" 2>/dev/null
  rm "$host.csr" "$host.ext"
  echo "$host.pem"
done
