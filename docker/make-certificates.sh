#!/bin/sh
# Makes a private certificate authority in docker/authority and central's certificate in docker/tls, as `waypost certs init` and `waypost certs server` do, by
# openssl alone: before the images are built, a Docker host has neither Node nor `waypost`. `waypost certs renew` renews what this makes.
# Leaves an authority and a certificate that are there alone, and makes nothing where their authority is kept elsewhere: on a device that got central's
# docker/trust/ca.crt, at a central whose docker/authority was moved to a safe place or whose certificate is from another authority.
# The certificate is for this machine, for central's name among the containers, and for each argument:
#   docker/make-certificates.sh central.example 192.0.2.7
set -eu
cd "$(dirname "$0")"
authority=authority
tls=tls
trust=trust
# In the images the services run as this user.
service_user=1000

mkdir -p $authority $tls $trust
if [ ! -e $authority/ca.crt ] && [ ! -e $authority/ca.key ] && { [ -e $trust/ca.crt ] || [ -e $tls/server.crt ]; }; then
  echo 'Made no certificate: those in docker/tls and docker/trust are of an authority that is kept elsewhere.'
  exit 0
fi
command -v openssl >/dev/null || {
  echo 'openssl is needed to make certificates. Install it, or put your own into docker/tls: server.crt, server.key.' >&2
  exit 1
}

names=DNS:central-api,DNS:localhost,IP:127.0.0.1,IP:::1
# A machine's own name may be one that no URL can have.
own=$(hostname)
case $own in '' | *[!0-9a-zA-Z.-]*) own=localhost ;; esac
for host in "$own" "$@"; do
  case $host in
    *[!0-9a-zA-Z.:*-]*) echo "$host is neither a host name nor an IP address." >&2; exit 1 ;;
    *:*) names=$names,IP:$host ;;
    *[!0-9.]*) names=$names,DNS:$host ;;
    *) names=$names,IP:$host ;;
  esac
done

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
umask 077
# Shows what a program says only if it fails.
quietly() { "$@" >"$new/log" 2>&1 || { cat "$new/log" >&2; exit 1; }; }

if [ ! -e $authority/ca.crt ] && [ ! -e $authority/ca.key ]; then
  quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$new/ca.key"
  cat >"$new/ca.cnf" <<CNF
[req]
distinguished_name = name
prompt = no
x509_extensions = authority
[name]
CN = Waypost CA
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
CNF
  quietly openssl req -x509 -new -sha256 -days 3650 -key "$new/ca.key" -config "$new/ca.cnf" -out "$new/ca.crt"
  mv "$new/ca.key" "$new/ca.crt" $authority/
  echo 'Made a certificate authority: docker/authority/ca.crt, ca.key. Keep ca.key to yourself: no container gets it.'
fi

if [ ! -e $tls/server.crt ] && [ ! -e $tls/server.key ]; then
  if [ ! -e $authority/ca.crt ] || [ ! -e $authority/ca.key ]; then
    echo "Central's certificate needs the authority: bring ca.crt and ca.key back to docker/authority." >&2
    exit 1
  fi
  quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$new/server.key"
  cat >"$new/server.cnf" <<CNF
[req]
distinguished_name = name
prompt = no
[name]
CN = central-api
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $names
CNF
  quietly openssl req -new -key "$new/server.key" -config "$new/server.cnf" -out "$new/server.csr"
  serial=0x$(od -An -N 16 -t x1 /dev/urandom | tr -d ' \n' | sed 's/^./4/')
  quietly openssl x509 -req -sha256 -days 397 -in "$new/server.csr" -CA $authority/ca.crt -CAkey $authority/ca.key -set_serial "$serial" \
    -extfile "$new/server.cnf" -extensions server -out "$new/own.crt"
  # The authority's certificate follows, so that devices can pin its fingerprint.
  cat "$new/own.crt" $authority/ca.crt >"$new/server.crt"
  if [ "$(id -u)" = 0 ]; then chown $service_user:$service_user "$new/server.key"; fi
  mv "$new/server.key" "$new/server.crt" $tls/
  echo "Made central's certificate for $names: docker/tls/server.crt, server.key."
  if [ "$(id -u)" != 0 ] && [ "$(id -u)" != $service_user ]; then
    echo "The container's user has to read the key: sudo chown $service_user docker/tls/server.key" >&2
  fi
fi

cp $authority/ca.crt $trust/ca.crt
chmod 644 $authority/ca.crt $tls/server.crt $trust/ca.crt
echo "Devices: a copy of docker/trust/ca.crt, or CENTRAL_FINGERPRINT=$(openssl x509 -in $authority/ca.crt -noout -fingerprint -sha256 | cut -d= -f2)"
