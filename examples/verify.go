// Package webhook verifies requests by Standard Webhooks.
package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Verify reports whether a request is genuine. body: its bytes, as they came.
func Verify(key string, header http.Header, body []byte) bool {
	uid, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseUint(stamp, 10, 50)
	if err != nil || time.Since(time.Unix(int64(seconds), 0)).Abs() > 5*time.Minute {
		return false
	}
	signed := bytes.Join([][]byte{[]byte(uid), []byte(stamp), body}, []byte("."))
	_, encoded, _ := strings.Cut(key, "_")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) < 24 { // not set: anyone could sign with that
		return false
	}
	for _, one := range strings.Split(header.Get("webhook-signature"), " ") {
		version, text, _ := strings.Cut(one, ",")
		given, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			continue
		}
		if strings.HasPrefix(key, "whpk_") {
			if version == "v1a" && len(raw) == ed25519.PublicKeySize && ed25519.Verify(raw, signed, given) {
				return true
			}
		} else if version == "v1" {
			mac := hmac.New(sha256.New, raw)
			mac.Write(signed)
			if hmac.Equal(mac.Sum(nil), given) {
				return true
			}
		}
	}
	return false
}
