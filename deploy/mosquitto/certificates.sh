#!/bin/sh
# Makes the certificates: an authority of your own, the broker's, and one for each agent that is named.
set -eu

usage() {
    cat <<'TEXT'
usage: deploy/mosquitto/certificates.sh FOLDER BROKER_HOST [AGENT_ID...]

BROKER_HOST is the name or address under which agents reach the broker; it must be the one in agent.toml (mqtt.host).
Run again with more agents: what is there stays. Keep ca.key offline: whoever has it can pretend to be the broker.

example: deploy/mosquitto/certificates.sh certs broker.school.example room-101 room-102
TEXT
}

case ${1:-} in -h|--help) usage; exit 0 ;; esac
if [ $# -lt 2 ]; then usage >&2; exit 2; fi
folder=$1 host=$2
shift 2
umask 077
mkdir -p "$folder"

if [ ! -e "$folder/ca.key" ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out "$folder/ca.key"
    openssl req -x509 -new -key "$folder/ca.key" -sha256 -days 3650 -subj "/CN=fer-agent authority" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" -out "$folder/ca.crt"
fi

certificate() {  # certificate NAME COMMON_NAME EXTENSIONS
    if [ -e "$folder/$1.crt" ]; then return; fi
    openssl ecparam -name prime256v1 -genkey -noout -out "$folder/$1.key"
    printf 'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\n%s\n' "$3" > "$folder/$1.ext"
    openssl req -new -key "$folder/$1.key" -subj "/CN=$2" -out "$folder/$1.csr"
    openssl x509 -req -in "$folder/$1.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -sha256 \
        -days 825 -extfile "$folder/$1.ext" -out "$folder/$1.crt" 2>/dev/null
    rm -f "$folder/$1.csr" "$folder/$1.ext"
}

case $host in
    *[!0-9.]*) name="DNS:$host" ;;
    *) name="IP:$host" ;;
esac
certificate broker "$host" "extendedKeyUsage=serverAuth
subjectAltName=$name"
for agent in "$@"; do
    case $agent in
        ''|*[!a-z0-9-]*) echo "error: agent id: expected a-z, 0-9 and -, got '$agent'" >&2; exit 2 ;;
    esac
    certificate "$agent" "$agent" "extendedKeyUsage=clientAuth
subjectAltName=DNS:$agent"
done
chmod 644 "$folder"/*.crt
echo "$folder: $(cd "$folder" && echo ./*.crt)" >&2
