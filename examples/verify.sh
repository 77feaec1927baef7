# For looking at a request by hand, with OpenSSL 3. Not for a server: the list of processes shows the key.
# Exit code 0 if the request is genuine: verify KEY ID TIMESTAMP SIGNATURES FILE_WITH_BODY
verify() (
  set -f
  case $3 in '' | *[!0-9]* | ????????????????*) exit 1 ;; esac
  seconds=${3#"${3%%[!0]*}"}
  age=$(($(date +%s) - ${seconds:-0}))
  [ "${age#-}" -le 300 ] || exit 1
  dir=$(mktemp -d) && trap 'rm -r "$dir"' EXIT || exit 1
  { printf '%s.%s.' "$2" "$3" && cat "$5"; } > "$dir/signed"
  printf %s "${1#wh*_}" | openssl base64 -d -A > "$dir/raw"
  [ "$(wc -c < "$dir/raw")" -ge 24 ] || exit 1 # not set: anyone could sign with that
  hex=$(od -An -vtx1 "$dir/raw" | tr -d ' \n')
  wanted=v1,$(openssl dgst -sha256 -mac HMAC -macopt "hexkey:$hex" -binary "$dir/signed" | openssl base64 -A)
  { printf '\060\052\060\005\006\003\053\145\160\003\041\000' && cat "$dir/raw"; } > "$dir/key"
  for one in $4; do
    case $1:$one in
      whsec_*:v1,*)
        [ "$one" = "$wanted" ] && exit 0
        ;;
      whpk_*:v1a,*)
        printf %s "${one#v1a,}" | openssl base64 -d -A > "$dir/given"
        openssl pkeyutl -verify -pubin -keyform DER -inkey "$dir/key" -rawin \
          -in "$dir/signed" -sigfile "$dir/given" > /dev/null 2>&1 && exit 0
        ;;
    esac
  done
  exit 1
)
