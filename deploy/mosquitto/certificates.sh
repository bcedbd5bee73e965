#!/bin/sh
# Makes the certificates: an authority of your own, the broker's, and one for each agent that is named.
set -eu

usage() {
    cat <<'TEXT'
usage: deploy/mosquitto/certificates.sh FOLDER BROKER_HOST [AGENT_ID...]

BROKER_HOST is the name or address under which agents reach the broker; it must be the one in agent.toml (mqtt.host).
Run again with more agents: what is there stays. Certificates end after 825 days, the authority after ten years; to
renew one, remove its .crt and run this again beside the same ca.key and ca.crt. Agents need a certificate of their own
only where the broker asks for one. Keep ca.key offline: whoever has it can pretend to be the broker.

example: deploy/mosquitto/certificates.sh certs broker.school.example room-101 room-102
TEXT
}

case ${1:-} in -h|--help) usage; exit 0 ;; esac
if [ $# -lt 2 ]; then usage >&2; exit 2; fi
folder=$1 host=$2
shift 2
case $host in
    *:*:*) name="IP:$host" strange='[!0-9A-Fa-f:.]' ;;
    *[!0-9.]*) name="DNS:$host" strange='[!A-Za-z0-9._-]' ;;
    *) name="IP:$host" strange='[!0-9.]' ;;
esac
case $host in
    ''|*$strange*)
        echo "error: BROKER_HOST: expected a name or an address alone, no port and no mqtts://, got '$host'" >&2; exit 2 ;;
esac
umask 077
mkdir -p "$folder"

if [ ! -e "$folder/ca.key" ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out "$folder/ca.key"
    openssl req -x509 -new -key "$folder/ca.key" -sha256 -days 3650 -subj "/CN=fer-agent authority" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" -out "$folder/ca.crt"
elif ! openssl x509 -in "$folder/ca.crt" -noout -checkend 0 >/dev/null; then
    ends=$(openssl x509 -in "$folder/ca.crt" -noout -enddate | cut -d= -f2)
    echo "error: $folder/ca.crt: expected an authority that is valid, got one that ended on $ends; run this with an" \
        "empty folder, and give its ca.crt to every device and to the collector" >&2
    exit 1
fi

keep() {  # keep NAME KIND:VALUE: whether NAME.crt is there; ends if it is for another one, ended, or a stranger's
    crt=$folder/$1.crt renew="to renew it: rm $folder/$1.crt, and run this again"
    if [ ! -e "$crt" ]; then return 1; fi
    case $2 in IP:*) check=-checkip ;; *) check=-checkhost ;; esac
    if ! openssl x509 -in "$crt" -noout "$check" "${2#*:}" | grep -q 'does match'; then
        there=$(openssl x509 -in "$crt" -noout -ext subjectAltName 2>/dev/null | sed -n '2s/^ *//p')
        echo "error: $crt: expected a certificate for $2, got one for ${there:-nobody}; $renew" >&2; exit 1
    fi
    ends=$(openssl x509 -in "$crt" -noout -enddate | cut -d= -f2)
    if ! openssl x509 -in "$crt" -noout -checkend 0 >/dev/null; then
        echo "error: $crt: expected a certificate that is valid, got one that ended on $ends; $renew" >&2; exit 1
    fi
    if ! openssl verify -no_check_time -CAfile "$folder/ca.crt" "$crt" >/dev/null 2>&1; then
        echo "error: $crt: expected a certificate of $folder/ca.crt, got one of another authority; $renew" >&2; exit 1
    fi
    echo "$crt: kept, for $2, until $ends; $renew" >&2
}

certificate() {  # certificate NAME COMMON_NAME SUBJECT_NAME EXTENDED_USAGE
    if keep "$1" "$3"; then return; fi
    openssl ecparam -name prime256v1 -genkey -noout -out "$folder/$1.key"
    printf '%s\n' basicConstraints=CA:FALSE keyUsage=critical,digitalSignature "subjectAltName=$3" "extendedKeyUsage=$4" \
        > "$folder/$1.ext"
    openssl req -new -key "$folder/$1.key" -subj "/CN=$2" -out "$folder/$1.csr"
    openssl x509 -req -in "$folder/$1.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -sha256 \
        -days 825 -extfile "$folder/$1.ext" -out "$folder/$1.crt" 2>/dev/null
    rm -f "$folder/$1.csr" "$folder/$1.ext"
}

certificate broker "$host" "$name" serverAuth
for agent in "$@"; do
    case $agent in
        ''|*[!a-z0-9-]*) echo "error: agent id: expected a-z, 0-9 and -, got '$agent'" >&2; exit 2 ;;
    esac
    certificate "$agent" "$agent" "DNS:$agent" clientAuth
done
chmod 644 "$folder"/*.crt
echo "$folder: $(cd "$folder" && echo ./*.crt)" >&2
