<?php
// true if the request is genuine. $headers: names in lower case; $body: file_get_contents('php://input')
function verify(string $key, array $headers, string $body, int $tolerance = 300): bool
{
    $uid = $headers['webhook-id'] ?? '';
    $stamp = $headers['webhook-timestamp'] ?? '';
    if (!preg_match('/^[0-9]{1,15}$/D', $stamp) || abs(time() - (int) $stamp) > $tolerance) {
        return false;
    }
    $signed = "$uid.$stamp.$body";
    $public = str_starts_with($key, 'whpk_');
    $raw = base64_decode(substr($key, $public ? 5 : 6));
    if (strlen($raw) < 24) { // not set: anyone could sign with that
        return false;
    }
    $wanted = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $raw, true));
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $one) {
        if ($public) {
            $signature = str_starts_with($one, 'v1a,') ? base64_decode(substr($one, 4)) : '';
            if (strlen($signature) === 64 && sodium_crypto_sign_verify_detached($signature, $signed, $raw)) {
                return true;
            }
        } elseif (hash_equals($wanted, $one)) {
            return true;
        }
    }
    return false;
}
